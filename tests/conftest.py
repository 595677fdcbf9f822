"""Every Airflow import of the tests finds the product's configuration and a home of its own."""

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="taxiway-airflow-")
os.environ["AIRFLOW_CONFIG"] = str(REPOSITORY / "airflow" / "airflow.cfg")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{os.environ['AIRFLOW_HOME']}/airflow.db"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--docker", action="store_true", help="run the tests in containers, and nothing else")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests in containers take longer than all others together: they are asked for."""
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --all"))
    asked = config.getoption("--docker")
    contained = [
        item for item in items if item.path.name.startswith("test_compose_") and "e2e" in item.path.parts
    ]
    if asked:
        others = [item for item in items if item not in contained]
        config.hook.pytest_deselected(items=others)
        items[:] = contained
        return
    for item in contained:
        item.add_marker(pytest.mark.skip(reason="runs in containers: scripts/test --docker"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test in containers that was asked for and skips itself has not passed."""
    report = yield
    if report.skipped and item.config.getoption("--docker"):
        report.outcome = "failed"
        report.longrepr = f"--docker asks for this test, and it was skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the tests in containers have measured."""
    if not config.getoption("--docker"):
        return
    from compose_stack import MEASURED

    if not MEASURED:
        return
    terminalreporter.section("measured")
    for line in MEASURED:
        terminalreporter.write_line(line)
