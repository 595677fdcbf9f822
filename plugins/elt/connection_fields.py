"""An Airflow connection as it is written in a variable, and what drivers make of its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from elt.errors import SettingError


@dataclass(frozen=True)
class ConnectionFields:
    """An Airflow connection's fields, under Airflow's names; `schema` is a database or a URL's scheme."""

    conn_type: str = ""
    host: str = ""
    schema: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    port: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Read the JSON or the URI form; SettingError names the variable, never its content (a secret)."""
        try:
            if not text.lstrip().startswith("{"):
                return cls._from_uri(text)
            found = {key: value for key, value in json.loads(text).items() if value is not None}
            extra = found.get("extra") or {}
            return cls(
                conn_type=str(found.get("conn_type", "")).replace("-", "_"),
                port=int(found["port"]) if found.get("port") else None,
                extra=dict(json.loads(extra) if isinstance(extra, str) else extra),
                **{key: str(found.get(key, "")) for key in ("host", "schema", "login", "password")},
            )
        except (ValueError, TypeError, AttributeError):
            raise SettingError(
                f"{name} is not a connection. Write it as JSON, such as "
                '{"conn_type": "postgres", "host": "127.0.0.1"}, or as a URI, as Airflow documents both.'
            ) from None

    @classmethod
    def _from_uri(cls, text: str) -> Self:
        """`type://login:password@host:port/schema?extra`; `type://https://host` puts a scheme into host."""
        conn_type, separator, rest = text.partition("://")
        if not separator:
            raise ValueError(text)
        protocol, inner, _ = rest.partition("?")[0].partition("://")
        parts = urlsplit(f"//{rest.removeprefix(protocol + inner)}" if inner else f"//{rest}")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        # Not `parts.hostname`, which is in lower case: a host may be the path of a socket.
        host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
        return cls(
            conn_type=conn_type.replace("-", "_"),
            host=f"{protocol}://{host}" if inner else host,
            schema=unquote(parts.path[1:]),
            login=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            port=parts.port,
            extra=dict(json.loads(query["__extra__"])) if "__extra__" in query else query,
        )

    def impersonated(self) -> list[str]:
        """The service accounts of a Google connection's chain, the one that is meant last; none without."""
        chain = self.extra.get("impersonation_chain") or []
        return [name.strip() for name in (chain.split(",") if isinstance(chain, str) else chain)]

    def url(self) -> str:
        """The base URL of an HTTP connection, without user and password and without a slash at its end."""
        if not self.host:
            raise SettingError(
                'An HTTP connection has no host. Write it like {"host": "https://example.com"}.'
            )
        scheme = self.schema or (self.conn_type if self.conn_type == "https" else "http")
        base = self.host if "://" in self.host else f"{scheme}://{self.host}"
        return (f"{base}:{self.port}" if self.port else base).rstrip("/")

    def secrets(self) -> dict[str, Any]:
        """What of an HTTP connection is for its host only: `HttpClient`'s arguments.

        A password without a login is a bearer token.
        """
        auth = (self.login, self.password) if self.login else None
        token = {"Authorization": f"Bearer {self.password}"} if self.password and not self.login else {}
        return {"auth": auth, "headers": {**token, **(self.extra.get("headers") or {})}}


def postgres_parameters(found: ConnectionFields) -> dict[str, Any]:
    """What psycopg connects by: libpq's names, `passfile` and `service` among the extra ones."""
    named = {"host": found.host, "port": found.port, "user": found.login, "password": found.password}
    named |= {"dbname": found.schema, **found.extra}
    return {name: value for name, value in named.items() if value not in ("", None)}
