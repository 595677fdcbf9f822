"""Everything in this repository that is generated from the code that knows the answers.

`scripts/docs` writes it anew, `scripts/docs --check` names what is behind. A generator returns the whole text
of its file; of a page that people write too, only the parts between markers come from the code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from taxiway.environment.home import REPOSITORY, write_atomically

Generator = Callable[[], str]
"""Returns the text of one file as it should be."""


def generated(*, check: bool = True) -> dict[Path, Generator]:
    """Return every generated file with its generator.

    A check holds a page against the datasets that it has: one that a user adds does not make it wrong.
    """
    # Pulumi's and Airflow's imports take seconds; only this command needs both.
    from taxiway.compose import packages
    from taxiway.docgen import datasets, infrastructure, pipelines, site, troubleshooting
    from taxiway.docgen.markdown import current

    pages: dict[str, Callable[[str], str]] = {
        "datasets.md": datasets.current if check else lambda _: datasets.page(),
        "infrastructure.md": lambda text: current(text, infrastructure.PARTS),
        "pipelines.md": pipelines.current if check else lambda text: current(text, pipelines.parts()),
        "troubleshooting.md": lambda _: troubleshooting.page(),
    }
    docs = REPOSITORY / "docs"
    found: dict[Path, Generator] = {
        docs / name: partial(lambda name, make: make((docs / name).read_text()), name, make)
        for name, make in pages.items()
    }
    navigation = REPOSITORY / site.CONFIGURATION
    found[navigation] = lambda: site.current(navigation.read_text())
    found |= {path: partial(infrastructure.inventory_text, path) for path in infrastructure.inventories()}
    # What the images install: exported from uv.lock, never resolved at build.
    found |= {
        REPOSITORY / name: partial(packages.export, options) for name, options in packages.EXPORTS.items()
    }
    return found


def main(*, check: bool, files: Mapping[Path, Generator] | None = None) -> int:
    """Write what is behind the code, or with `check` only name it.

    Returns the exit code: 1 where a check found something.
    """
    behind = {
        path: text
        for path, generator in (files or generated(check=check)).items()
        if (text := generator()) != (path.read_text() if path.exists() else None)
    }
    for path, text in behind.items():
        name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
        if not check:
            write_atomically(path, text, mode=0o644)
        sys.stderr.write(f"{name} is behind the code: scripts/docs\n" if check else f"wrote {name}\n")
    return 1 if check and behind else 0
