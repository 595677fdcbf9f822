"""The site's navigation, its links as the git host follows them, and what a failed build says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import REPOSITORY

from taxiway.docgen import site

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CONFIGURATION = (REPOSITORY / "mkdocs.yml").read_text()


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- ([\w/.-]+\.md)$", CONFIGURATION, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_a_new_decision_comes_into_the_navigation(tmp_path: Path) -> None:
    for name in ("0002-b.md", "0001-a.md"):
        (tmp_path / name).touch()
    text = "nav:\n  # made decisions\n  - decisions/old.md\n  # end\nmore: 1\n"
    made = "nav:\n  # made decisions\n  - decisions/0001-a.md\n  - decisions/0002-b.md\n  # end\nmore: 1\n"
    assert site.current(text, tmp_path) == made
    assert site.current(made, tmp_path) == made


def links(page: Path) -> Iterator[str]:
    """The links to files and headings of this repository, not those in code."""
    text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(), flags=re.DOTALL)
    yield from (link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link)


def anchors(page: Path) -> set[str]:
    """What GitHub and GitLab call the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "page", [REPOSITORY / "README.md", REPOSITORY / "AGENTS.md", *PAGES], ids=lambda p: p.stem
)
def test_links_lead_somewhere_on_the_git_host(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_of_pages_stay_on_the_site(page: Path) -> None:
    for link in links(page):
        assert (page.parent / link.partition("#")[0]).resolve().is_relative_to(DOCS), link


OUTPUT = """Build started
\x1b[33mWarning:\x1b[0m page does not exist
     \x1b[38;5;246m╭\x1b[0m\x1b[38;5;246m─\x1b[0m\x1b[38;5;246m[\x1b[0m style.md:65:5 \x1b[38;5;246m]\x1b[0m
1 issues found
Traceback (most recent call last):
RuntimeError: Aborted because --strict flag is set
"""


def test_a_build_that_fails_names_page_line_and_fault(tmp_path: Path) -> None:
    program = tmp_path / "zensical"
    program.write_text(f"#!/bin/sh\ncat <<'END' >&2\n{OUTPUT}END\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(site.TaxiwayError, match=r"not built: docs/style\.md:65: page does not exist$"):
        site.build(tmp_path, program)
    program.write_text("#!/bin/sh\necho no such theme >&2\nexit 1\n")
    with pytest.raises(site.TaxiwayError, match="not built: no such theme"):
        site.build(tmp_path, program)
