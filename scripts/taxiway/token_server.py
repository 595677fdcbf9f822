"""Mints access tokens of a stack's accounts, so that no task is handed its developer's credentials.

Tasks have a credential file (`taxiway.infrastructure.environment.tasks_credentials`) by which Google's
libraries ask this server, and not Google, for both that they need to act as the account: an exchange of
tokens, for which they show the secret in `--token-file`, and `generateAccessToken`, for which it is their
bearer token. Google's errors are passed on as they are: to a task, a grant that is not there yet, or trouble
that passes, is just that. The API server has such a file, too, with a secret of its own: to each secret
belongs one account, that of the pipelines or that which only reads.
"""

from __future__ import annotations

import hmac
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request as Transport
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elt.errors import TransientError, first_line
from elt.stores import google_answers, token_error
from taxiway.emulators.answers import Answer, Application, HttpError, parsed, part, whole_body
from taxiway.emulators.guard import carries
from taxiway.emulators.serving import parser, serve, token_in

NAME = "google-tokens"
EXCHANGE = "/v1/token"
ACCOUNTS = "/v1/projects/-/serviceAccounts"
BODY_BYTES = 64 << 10
# In both forms of credential files; Google's library takes the account alone from it.
_URL = "service_account_impersonation_url"
# Shorter than Google's libraries wait for this server.
ANSWER_SECONDS = 30.0
# What ends with the developer's sign-in; a sentence for the log of a task.
REMEDY = (
    "Sign in anew on the machine of the platform: gcloud auth application-default login, then scripts/up, or "
    "scripts/env and docker compose up --detach"
)


@dataclass(frozen=True)
class Minter:
    """`file`: credentials that impersonate. `clients`: by their secret, the file that names their account.

    Both are read anew for each token.
    """

    file: Path
    clients: Mapping[str, Path]

    def mint(self, secret: str, account: str, scopes: Sequence[str]) -> Response:
        """A token of an hour's life, as `generateAccessToken` answers. Raises HttpError, Google's own if any.

        404 for any other account than that of this secret.
        """
        try:
            own, theirs = (json.loads(file.read_bytes()) for file in (self.file, self.clients[secret]))
            info = {**own, _URL: theirs.get(_URL, "")}
            found, _ = google.auth.load_credentials_from_dict(info, scopes=scopes)  # type: ignore[no-untyped-call]
            if found.service_account_email != account:
                raise HttpError(404, f"This server has no tokens of {account}.")
            found.refresh(partial(Transport(), timeout=ANSWER_SECONDS))
        except (GoogleAuthError, OSError, ValueError) as error:
            raise refusal(error) from None
        return Answer({"accessToken": found.token, "expireTime": f"{found.expiry:%Y-%m-%dT%H:%M:%SZ}"})


def refusal(error: Exception) -> HttpError:
    """What a task is told of an error of Google's: the same status and message, or whether it passes."""
    for answer in google_answers(error):
        detail = answer.get("error") if answer else None
        if isinstance(detail, dict) and 400 <= int(detail.get("code") or 0) < 600:
            return HttpError(int(detail["code"]), str(detail.get("message", "")))
    said = first_line(error.args[0] if error.args else error)
    if isinstance(token_error(error, NAME), TransientError):
        return HttpError(503, said)
    return HttpError(400, f"{said.rstrip('.')}. {REMEDY}")


def application(minter: Minter) -> Application:
    """The two methods."""
    routes = [
        Route(EXCHANGE, _exchange, methods=["POST"]),
        Route(f"{ACCOUNTS}/{{account}}:generateAccessToken", _generate, methods=["POST"]),
    ]
    return Application(NAME, routes, minter)


async def _exchange(request: Request) -> Response:
    """RFC 8693: a client's secret for what it carries as bearer token, which is the secret again."""
    form = parse_qs((await whole_body(request, BODY_BYTES)).decode(errors="replace"))
    given = form.get("subject_token", [""])[0].encode()
    secrets: list[str] = [*request.app.state.store.clients]
    secret = next((known for known in secrets if hmac.compare_digest(given, known.encode())), "")
    if not secret:
        said = "this is not the secret of this environment's token server"
        return Answer({"error": "invalid_grant", "error_description": said}, 400)
    issued = "urn:ietf:params:oauth:token-type:access_token"
    token: dict[str, Any] = {"access_token": secret, "token_type": "Bearer", "expires_in": 3600}
    return Answer({**token, "issued_token_type": issued})


async def _generate(request: Request) -> Response:
    scopes = parsed(await whole_body(request, BODY_BYTES)).get("scope")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise HttpError(400, "Give the scopes of the token as a list of texts.")
    minter: Minter = request.app.state.store
    shown = request.headers.getlist("authorization")
    # The guard has let in who shows one of them.
    secret = next(known for known in minter.clients if carries(known, shown))
    try:
        return await run_in_threadpool(minter.mint, secret, part(request, "account"), scopes)
    except HttpError as error:
        logging.getLogger(NAME).warning("no token: %s", error)
        raise


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("Tokens of a stack's accounts for tasks and the API server.", NAME)
    file_help = "credential file that impersonates the pipelines' account"
    options.add_argument("--credentials", type=Path, required=True, metavar="FILE", help=file_help)
    file_help = "credential file of the account that only reads, and the secret for its tokens"
    options.add_argument("--reader-credentials", type=Path, required=True, metavar="FILE", help=file_help)
    options.add_argument("--reader-token-file", type=Path, required=True, metavar="FILE")
    chosen = options.parse_args(argv)
    if chosen.token_file is None:
        options.error("--token-file is required: whoever has no secret gets no token")

    @asynccontextmanager
    async def open_app() -> AsyncIterator[Application]:
        clients = {
            token_in(chosen.token_file): chosen.credentials,
            token_in(chosen.reader_token_file): chosen.reader_credentials,
        }
        yield application(Minter(chosen.credentials, clients))

    return serve(NAME, chosen, open_app, (EXCHANGE,), (chosen.reader_token_file,))


if __name__ == "__main__":
    sys.exit(main())
