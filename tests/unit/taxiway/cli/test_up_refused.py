"""What is wrong with a stack is said before anything is started or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxiway.cli.commands import up
from taxiway.environment import paths
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.infrastructure import stackfile


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ENVIRONMENTS", tmp_path / ".taxiway")
    monkeypatch.setattr(stackfile, "FOLDER", tmp_path / "stacks")
    monkeypatch.setattr(up, "exclusive", lambda *_: pytest.fail("something would have been started"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("options", [["--engine", "cli"], ["--stack", "alice", "--project", "acme-data"]])
def test_without_pulumi_nothing_is_started_that_needs_it(checkout: Path, options: list[str]) -> None:
    with pytest.raises(PreflightError, match="there is no pulumi on PATH"):
        up.main(options)
    assert list(checkout.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "taxiway:location is 'mars', but must be US, EU or a region"),
        (["--project", "Acme"], "taxiway:project is 'Acme', but must be a project's id"),
    ],
)
def test_a_wrong_setting_is_said_with_the_file_it_is_in(
    checkout: Path, options: list[str], said: str
) -> None:
    (checkout / "pulumi").write_text("")
    (checkout / "pulumi").chmod(0o755)
    if not options:
        stackfile.write("local", {"taxiway:location": "mars"})
    with pytest.raises(TaxiwayError, match=said) as refused:
        up.main(options)
    assert str(checkout / "stacks" / "Pulumi.local.yaml") in refused.value.remedy
    assert not (checkout / ".taxiway").exists()
