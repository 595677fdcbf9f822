"""The routes: answers in JSON, and the files that a browser makes pages of.

Each asks for a user of Airflow's first. What stores are asked is asked in threads of its own and given up
after SECONDS, so that a store that hangs holds no request of Airflow's.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from elt import status
from elt.catalogue import Dataset, Mart
from elt.connections import Connections
from elt.errors import InvalidPeriodError, NoCredentialsError, PipelineError
from elt.orchestration.pages import charts, coverage, describing, history
from elt.orchestration.pages.fresh import Fresh
from elt.periods import Period

SECONDS = 30.0
THREADS = 4
STATIC = Path(__file__).parent / "static"
HEADERS = {
    # No script but ours, nothing from elsewhere, and shown in Airflow's own frame only.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # A browser asks whether a file has changed; another user's answers are never shown.
    "Cache-Control": "private, no-cache",
    "Vary": "Cookie",
}

T = TypeVar("T")
log = logging.getLogger(__name__)
routes = APIRouter()


class Airflow(Protocol):
    """What is asked of Airflow (`elt.orchestration.pages.airflow`). `user` raises 401 without a session."""

    @property
    def user(self) -> Callable[..., Any]: ...  # noqa: D102 - the class says it

    def readable(self, user: Any) -> set[str]: ...  # noqa: D102

    def may_run(self, user: Any, dag_id: str) -> bool: ...  # noqa: D102

    def may_read_results(self, user: Any, dag_id: str) -> bool: ...  # noqa: D102

    def runs(self, dag_ids: Collection[str], key: str | None = None) -> Iterable[coverage.Run]: ...  # noqa: D102

    def paused(self, dag_ids: Collection[str]) -> list[str]: ...  # noqa: D102


class _Waiting:
    """Asks in a few threads, and gives up waiting after SECONDS; a thread ends by its own time-outs."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS)

    async def __call__(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self._threads, ask), SECONDS
            )
        except TimeoutError:
            raise HTTPException(
                504, f"the stores have not answered for {SECONDS:.0f} s. Try again, or see scripts/status."
            ) from None


def _utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Context:
    """What requests are answered from: `connect` opens their stores, `now` is in UTC, without a zone."""

    airflow: Airflow
    connect: Callable[[], Connections]
    now: Callable[[], dt.datetime] = _utc
    in_time: _Waiting = field(default_factory=_Waiting)
    fresh: Callable[[], None] = field(default_factory=Fresh)


def make(context: Context) -> FastAPI:
    """The app. Whatever is asked of it, a user has to be signed in."""

    def sign_in(request: Request, user: Annotated[Any, Depends(context.airflow.user)]) -> None:
        request.state.signed_in = user
        context.fresh()

    app = FastAPI(
        title="Taxiway", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(sign_in)]
    )
    app.state.context = context
    app.middleware("http")(_secured)
    app.exception_handler(PipelineError)(_refused)
    app.exception_handler(Exception)(_unforeseen)
    app.include_router(routes)
    return app


def _context(request: Request) -> Context:
    found: Context = request.app.state.context
    return found


def _user(request: Request) -> Any:
    return request.state.signed_in


Asked = Annotated[Context, Depends(_context)]
User = Annotated[Any, Depends(_user)]


def _visible(dataset: str, context: Asked, user: User) -> Dataset:
    from elt.catalogue.registry import DATASETS

    ds = DATASETS.get(dataset)
    # Who may not see it learns no more than that.
    if ds is None or not coverage.dags(ds).keys() & context.airflow.readable(user):
        raise HTTPException(404, f"there is no dataset {dataset!r} that you may see")
    return ds


def _feeding(mart: Mart) -> list[Dataset]:
    from elt.catalogue.registry import DATASETS

    return [ds for ds in list(DATASETS.values()) if ds.fills(mart.name)]


def _shown(mart: Mart, context: Context, user: User, readable: set[str]) -> bool:
    """Whether a user, to whom some DAGs are `readable`, may see a mart: it has sums of all that feeds it."""
    fed = [coverage.dags(ds) for ds in _feeding(mart)]
    return all(names.keys() & readable for names in fed) and all(
        context.airflow.may_read_results(user, name) for names in fed for name in names
    )


def _readable(mart: str, context: Asked, user: User) -> Mart:
    from elt.catalogue.registry import MARTS

    if mart not in MARTS or not _shown(MARTS[mart], context, user, context.airflow.readable(user)):
        raise HTTPException(404, f"there is no mart {mart!r} that you may see")
    return MARTS[mart]


def _period(period: str = "") -> Period | None:
    return Period.parse(period) if period else None


Visible = Annotated[Dataset, Depends(_visible)]
Readable = Annotated[Mart, Depends(_readable)]
Chosen = Annotated[Period | None, Depends(_period)]


@routes.get("/{name}")
def file(name: str) -> Response:
    """A page or what belongs to it."""
    files = {path.name: path for path in STATIC.iterdir()}
    path = files.get(name) or files.get(f"{name}.html")
    if path is None:
        raise HTTPException(404, "there is no such page")
    return FileResponse(path)


@routes.get("/api/datasets")
def list_datasets(context: Asked, user: User) -> dict[str, Any]:
    """The datasets that a user may see, and what the catalogue has left out."""
    # Here and above: the catalogue is read at the first request, not when Airflow starts.
    from elt.catalogue.registry import DATASETS, PROBLEMS

    readable = context.airflow.readable(user)
    seen = [ds for ds in list(DATASETS.values()) if coverage.dags(ds).keys() & readable]
    return {
        "datasets": [{"name": ds.name, "title": ds.title, "every": ds.every} for ds in seen],
        "problems": [str(problem) for problem in PROBLEMS],
    }


@routes.get("/api/datasets/{dataset}")
def describe_dataset(ds: Visible) -> dict[str, Any]:
    """What the catalogue says of a dataset; no store is asked."""
    return describing.dataset(ds)


@routes.get("/api/coverage/{dataset}")
async def show_coverage(ds: Visible, context: Asked, user: User) -> dict[str, Any]:
    """All partitions of a dataset that are due, by the load log and Airflow's runs."""

    def read() -> dict[str, Any]:
        moment, names, airflow = context.now(), list(coverage.dags(ds)), context.airflow
        last = coverage.last_due(ds, moment)
        found = status.coverage(context.connect(), ds, ds.first, last)
        facts = coverage.grid(ds, found, airflow.runs(names), last, moment)
        may_run = all(airflow.may_run(user, name) for name in names)
        return {**facts, "may_run": may_run, "paused": airflow.paused(names)}

    return await context.in_time(read)


@routes.get("/api/history/{dataset}")
async def show_history(ds: Visible, context: Asked) -> dict[str, Any]:
    """How a dataset's audits have judged it over time, and columns of its files that nobody knows."""
    last = coverage.last_due(ds, context.now())
    return await context.in_time(lambda: history.read(context.connect(), ds, last))


@routes.get("/api/partitions/{dataset}")
async def show_partition(ds: Visible, period: Chosen, context: Asked) -> dict[str, Any]:
    """What every store has of a partition, and the newest run of each of its DAGs."""

    def read() -> dict[str, Any]:
        key = str(period) if period else None
        runs = [run._asdict() for run in context.airflow.runs(list(coverage.dags(ds)), key)]
        return {**describing.partition(context.connect(), ds, period), "runs": runs}

    return await context.in_time(read)


@routes.get("/api/quarantine/{dataset}")
async def show_quarantine(ds: Visible, period: Chosen, context: Asked, user: User) -> dict[str, Any]:
    """The first rows of a partition that did not fit, for whom Airflow shows what tasks return."""
    if not all(context.airflow.may_read_results(user, name) for name in coverage.dags(ds)):
        raise HTTPException(403, f"you may not read what the DAGs of {ds.name} have returned")
    return await context.in_time(lambda: describing.quarantine(context.connect(), ds, period))


@routes.get("/api/marts")
def list_marts(context: Asked, user: User) -> dict[str, Any]:
    """The marts that a user may see, and what feeds them."""
    from elt.catalogue.registry import MARTS

    readable = context.airflow.readable(user)
    seen = [mart for mart in list(MARTS.values()) if _shown(mart, context, user, readable)]
    described = [
        {"name": m.name, "title": m.title, "datasets": [ds.name for ds in _feeding(m)]} for m in seen
    ]
    return {"marts": described}


@routes.get("/api/marts/{mart}")
async def show_mart(mart: Readable, context: Asked) -> dict[str, Any]:
    """A mart's charts: sums by day, by hour and by category."""
    return await context.in_time(lambda: charts.read(context.connect(), mart))


async def _secured(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers.update(HEADERS)
    return response


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 - FastAPI's signature
    code = 422 if isinstance(error, InvalidPeriodError) else 503
    hint = " docs/pages.md says when that is so on purpose." if isinstance(error, NoCredentialsError) else ""
    return JSONResponse({"detail": f"{error}{hint}"}, code)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("%s has failed", request.url.path, exc_info=error)
    sentence = f"this page has a defect ({type(error).__name__}). The API server's log says more."
    return JSONResponse({"detail": sentence}, 500, HEADERS)
