"""What a rehearsal of an upgrade reads, tries and reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from taxiway.compose import packages
from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError


def test_exactly_the_one_requirement_is_replaced() -> None:
    text = (REPOSITORY / "plugins" / "pyproject.toml").read_text()
    changed = packages.pinned(text, "3.9.1")
    ours = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert [b.strip() for _, b in ours] == ['"apache-airflow==3.9.1",']
    with pytest.raises(TaxiwayError, match="does not name apache-airflow"):
        packages.pinned("", "3.9.1")


def test_what_differs_between_two_locks_is_reported_by_package() -> None:
    lock = '[[package]]\nname = "a"\nversion = "1"\n\n[[package]]\nname = "b"\nversion = "2"\n'
    other = lock.replace('"2"', '"3"').replace('"a"', '"c"')
    reported = packages.differences(packages.versions(lock), packages.versions(other))
    assert reported == ["a 1 → none", "b 2 → 3", "c none → 1"]


UV = """#!/bin/sh
case $1 in
lock) sed -i '/^name = "rich"$/,/^version/s/^version = .*/version = "99.0"/' uv.lock ;;
tree)
    echo 'taxiway v0.1.0'
    echo '├── click v8.0 (latest: v9.1)'
    echo '└── celery v5.6.3 (extra: celery) (latest: v5.7.0)' ;;
export) echo 'uv==99.0' ;;
sync)
    mkdir -p .venv/bin
    printf '#!/bin/sh\\necho "$3 ran in $PWD"; [ "$3 $4" != "$FAILING" ]\\n' >.venv/bin/python
    chmod +x .venv/bin/python ;;
esac
"""


@pytest.mark.parametrize("version", ["", "3.9.9"])
@pytest.mark.parametrize("failing", ["", "check ", "test tests/dags", "test tests/unit"])
def test_rehearsed_packages_are_checked_and_tested_in_a_copy_that_goes_away(
    tmp_path: Path, failing: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "uv"
    program.write_text(UV)
    program.chmod(0o755)
    monkeypatch.setenv("FAILING", failing)
    before = (REPOSITORY / "uv.lock").read_bytes()
    report = packages.rehearse(version, Progress(Console(quiet=True)), packages.Uv(str(program)))
    assert [change.split()[0] for change in report.changes] == ["rich"]
    failed = [name for name, words in packages.CHECKS.items() if " ".join([*words, ""]).startswith(failing)]
    # Another Airflow alone leaves the unit tests out.
    assert [*report.failures] == ([] if not failing or (version and "unit" in failing) else failed)
    for output in report.failures.values():
        folder = Path(output.split(" ran in ")[1].strip())
        assert folder != REPOSITORY
        assert not folder.exists()
    assert report.held == ("celery 5.6.3 (latest: 5.7.0)", "click 8.0 (latest: 9.1)")
    assert (REPOSITORY / "uv.lock").read_bytes() == before


def test_without_a_set_of_packages_that_fits_the_reason_is_reported(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho 'no solution: x needs y' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(TaxiwayError, match="uv lock failed: no solution: x needs y"):
        packages.rehearse("", Progress(Console(quiet=True)), packages.Uv(str(program)))


def test_the_lock_of_this_checkout_is_understood() -> None:
    found = packages.versions((REPOSITORY / "uv.lock").read_text())
    assert found["apache-airflow"].startswith("3.")
    assert len(found) > 200
