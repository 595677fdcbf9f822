"""The site of docs/, built by the program that scripts/docs --site installs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from repository import REPOSITORY, copy_working_tree

from taxiway.docgen import site
from taxiway.errors import TaxiwayError
from taxiway.projects.rendering import render


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    shutil.copy(REPOSITORY / site.CONFIGURATION, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def program() -> Path:
    """What scripts/docs --site installs, where it does."""
    return site.SITE.installed() / site.SITE.there


def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(checkout: Path, program: Path) -> None:
    first = site.build(checkout, program)
    pages = {page.relative_to(first.parent): page.read_text() for page in first.parent.rglob("*.html")}
    assert {path.with_suffix(".md") for path in pages} >= {
        page.relative_to(REPOSITORY / "docs") for page in (REPOSITORY / "docs").rglob("*.md")
    }
    for text in pages.values():
        # Scripts, pictures, styles and fonts; links that a reader follows may lead anywhere.
        assert re.findall(r"""\bsrc=["']?(?:https?:)?//|<link [^>]*href=["']?(?:https?:)?//""", text) == []
        # Its script would be fetched from elsewhere as soon as there is one.
        assert 'class="mermaid"' not in text
    for style in first.parent.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text()) == []
    index = (first.parent / "search.json").read_text()
    assert "quarantine" in index
    assert 'data-md-color-scheme="slate"' in pages[Path("index.html")]


def test_a_link_that_leads_nowhere_is_an_error(checkout: Path, program: Path) -> None:
    with (checkout / "docs" / "asking.md").open("a") as page:
        page.write("\n[one](nowhere.md), [another](ci.md#nowhere)\n")
    with pytest.raises(TaxiwayError) as failed:
        site.build(checkout, program)
    assert re.findall(r"docs/asking\.md:\d+: (\w+) does not exist", str(failed.value)) == ["page", "anchor"]


def test_a_project_has_a_site_of_its_own_pages(program: Path, tmp_path: Path) -> None:
    copy_working_tree(tmp_path)
    render(tmp_path, "bike-city")
    text = site.build(tmp_path, program).read_text()
    assert "<title>bike-city" in text or "- bike-city</title>" in text
    listed = re.findall(r"^ +- ([\w/.-]+\.md)$", (tmp_path / site.CONFIGURATION).read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (tmp_path / "docs").glob("*.md"))
