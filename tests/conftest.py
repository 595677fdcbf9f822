"""Airflow finds the product's configuration and a home for tests; which tests run, and in which order."""

import collections
import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "plugins" / "nyc_taxi"

for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="taxiway-airflow-")
os.environ["AIRFLOW_CONFIG"] = str(REPOSITORY / "airflow" / "airflow.cfg")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{os.environ['AIRFLOW_HOME']}/airflow.db"
# Otherwise the storage client asks for each bucket in a thread of its own (docs/surprises.md), which tries
# for ten seconds, whatever has become of the test and its emulators.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

# Minutes on two cores that do nothing else, until this machine has a figure of its own (pytest's cache).
MINUTES = {"": 16, "--all": 50, "--docker": 12, "--hosts": 12}
# The longest first: two workers end together then.
FOLDERS = ("e2e", "integration", "conformance", "contract", "dags", "infra", "unit")
BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--docker", action="store_true", help="run the tests in containers, and nothing else")
    parser.addoption("--hosts", action="store_true", help="run those of workers on other hosts, at length")


def in_containers(config: pytest.Config) -> bool:
    return bool(config.getoption("--docker") or config.getoption("--hosts"))


def chosen(config: pytest.Config) -> str | None:
    """The option that says what runs; None if files or names were picked, which may take any time."""
    picked = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    if picked or config.option.keyword or config.option.markexpr or hasattr(config, "workerinput"):
        return None
    return next((option for option in ("--hosts", "--docker", "--all") if config.getoption(option)), "")


def pytest_report_header(config: pytest.Config) -> str | None:
    option, cache = chosen(config), getattr(config, "cache", None)
    if not EXAMPLE.is_dir():
        return "plugins/nyc_taxi is not here: of the product's tests, those of tests/project run."
    if option is None:
        return None
    took = cache.get(f"taxiway/minutes{option}", None) if cache else None
    known = f"{took} min, as the last time" if took else f"{MINUTES[option]} min on two free cores"
    return f"This takes about {known}." + ("" if option else f" With --all: about {MINUTES['--all']} min.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BEGAN] = time.monotonic()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    option, cache = chosen(config), getattr(config, "cache", None)
    if option is not None and cache and exitstatus == 0 and not config.option.collectonly:
        cache.set(f"taxiway/minutes{option}", max(1, round((time.monotonic() - config.stash[BEGAN]) / 60)))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without the example, the tests that every project has: the product's own are about its datasets."""
    tests = REPOSITORY / "tests"
    if EXAMPLE.is_dir() or tests not in collection_path.parents:
        return None
    return collection_path.relative_to(tests).parts[0] != "project" or None


def place(item: pytest.Item) -> int:
    """Where a test's folder is among FOLDERS; a test of another folder comes first."""
    parts = item.path.parts[len(REPOSITORY.parts) + 1 :]
    return FOLDERS.index(parts[0]) if parts[:1] and parts[0] in FOLDERS else -1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longer than all others together is asked for: the long tests, and those in containers."""
    items.sort(key=place)
    if not config.getoption("--all"):
        # Whoever names a file means all that is in it.
        named = {config.rootpath / argument.partition("::")[0] for argument in config.args}
        for item in items:
            if item.get_closest_marker("long") and item.path not in named:
                item.add_marker(pytest.mark.skip(reason="takes minutes: scripts/test --all"))
    asked = in_containers(config)
    which = "test_compose_hosts" if config.getoption("--hosts") else "test_compose_"
    contained = [item for item in items if item.path.name.startswith(which) and "e2e" in item.path.parts]
    if asked:
        others = [item for item in items if item not in contained]
        config.hook.pytest_deselected(items=others)
        items[:] = contained
        return
    for item in contained:
        item.add_marker(pytest.mark.skip(reason="runs in containers: scripts/test --docker"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A worker takes a file at a time, whose tests share what they start, in the order of FOLDERS."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            # One worker has all that start the whole platform: two such starts compete for the same ports.
            return "e2e" if nodeid.startswith("tests/e2e/") else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A thread that outlives its test writes where nobody looks for it: into another, below the summary."""
    before = set(threading.enumerate())

    def left() -> list[threading.Thread]:
        # Python itself ends the idle workers of a pool.
        threads = [thread for thread in threading.enumerate() if thread not in before]
        return [thread for thread in threads if not thread.name.startswith(("ThreadPoolExecutor", "asyncio"))]

    yield
    deadline = time.monotonic() + 10
    for thread in left():
        thread.join(max(0, deadline - time.monotonic()))
    assert left() == []


@pytest.fixture(scope="session")
def google_sql(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Google's SQL analyzer; its compiled code stays in pytest's cache, for other workers and later runs."""
    from googlesql import GoogleSql  # a tenth of a second, and 100 MB

    cache: pytest.Cache | None = getattr(pytestconfig, "cache", None)
    return GoogleSql(cache.mkdir("googlesql") if cache else tmp_path_factory.mktemp("googlesql"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test in containers that was asked for and skips itself has not passed."""
    report = yield
    if report.skipped and in_containers(item.config):
        report.outcome = "failed"
        report.longrepr = f"--docker asks for this test, and it was skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was skipped, a line for each reason, and what the tests in containers have measured."""
    skipped = terminalreporter.stats.get("skipped", [])
    # A skip's text is (file, line, reason): of the file there would be a line for each test.
    reasons = collections.Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:>5}  {reason}")
    if not in_containers(config):
        return
    from compose_stack import MEASURED

    if not MEASURED:
        return
    terminalreporter.section("measured")
    for line in MEASURED:
        terminalreporter.write_line(line)
