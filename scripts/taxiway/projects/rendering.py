"""What makes a project of a copy of the checkout: files that go, names that change, files of its own.

The same checkout and name give the same files, always: an update renders the newer checkout anew, and git
merges the difference of the two.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from lakehouse.names import PROJECT, Names
from taxiway.console.examples import named, neutral
from taxiway.docgen import datasets, pipelines
from taxiway.docgen.markdown import current
from taxiway.errors import TaxiwayError

TEMPLATE = Path(__file__).with_name("template")
EXAMPLE = Path("plugins", "nyc_taxi")
# Pages on why the product is as it is, and how fast.
PRODUCT_PAGES = (
    "decisions",
    "images",
    "performance.md",
    "scale.md",
    "style.md",
    "surprises.md",
    "tutorial.md",
    "zoomcamp.md",
)
# The example, what is about the product itself, and tests that need one of both. `tests/project` stays.
GONE = (
    EXAMPLE, Path(".ci"), Path("renovate.json"), Path("scripts", "bench"), Path("scripts", "upgrade"),
    *(Path("docs", name) for name in PRODUCT_PAGES),
)  # fmt: skip
TESTS_THAT_STAY = ("project",)
_EXAMPLE_PART = re.compile(r"<!-- example -->\n.*?<!-- /example -->\n\n?", re.DOTALL)
_PICTURE = re.compile(r"^!\[[^\]]*\]\(images/.*\n\n?", re.MULTILINE)
_LINK = re.compile(rf"\[([^\]]+)\]\((?:{'|'.join(map(re.escape, PRODUCT_PAGES))})\b[^)]*\)")
_MARKER = re.compile(r"<!-- (made [\w-]+|end) -->\n")


def package_of(name: str) -> str:
    """The Python package of a project's own entries."""
    return name.replace("-", "_")


def render(folder: Path, name: str) -> None:
    """Make the checkout in `folder` the project `name`; TaxiwayError for a checkout of another version."""
    for path in (folder / "tests").iterdir():
        if path.name not in TESTS_THAT_STAY:
            _remove(path)
    for gone in GONE:
        _remove(folder / gone)
    for file, change in _changes(name).items():
        _change(folder / file, change)
    for page in sorted((folder / "docs").glob("*.md")):
        _change(page, lambda text: _page(text, name))
    _write_own(folder, name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _change(file: Path, change: Callable[[str], str]) -> None:
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")


def _changes(name: str) -> Mapping[str, Callable[[str], str]]:
    """How files change that name the product or its example, by path."""
    local, ours = f"{name}-local", f"{PROJECT}-local"
    names, known = Names.of(local, "local", pulumi=name), Names.of(ours, "local")
    return {
        "Pulumi.yaml": lambda text: _pulumi(text, name),
        "infra/lakehouse/names.py": _swap(f'PROJECT: Final = "{PROJECT}"', f'PROJECT: Final = "{name}"'),
        "docker-compose.yaml": _swap(
            f"-{known.bucket}}}", f"-{names.bucket}}}", f"-{known.dataset}}}", f"-{names.dataset}}}",
            f"GCP_PROJECT_ID-{ours}", f"GCP_PROJECT_ID-{local}", f"%22{ours}%22", f"%22{local}%22",
            "the datasets' own address, TLC's site.", "the datasets' own address.",
            "and a source that looks like TLC's", "and a source of generated files",
        ),
        "pyproject.toml": _swap(', "tests/benchmarks/bench"]', "]"),
        "docs/commands.md": _commands,
        "mkdocs.yml": lambda text: _site(text, name),
        ".gitlab-ci.yml": _swap("script: [scripts/test --all]", "script: [scripts/test]"),
        "docs/ci.md": _swap("`scripts/test --all`, `scripts/test --docker`", "`scripts/test`"),
        "docs/asking.md": _swap(
            "The starter is `plugins/nyc_taxi/notebooks/first_look.py`; keep\nyours in the same folder or",
            "Keep\nyours in `plugins/nyc_taxi/notebooks/` or",
        ),
        "docs/datasets.md": lambda _: datasets.page({}, {}),
        "docs/pipelines.md": lambda text: current(text, pipelines.parts({})),
        "docs/your-own-project.md": lambda text: text.replace("my-project", name).replace(
            "my_project", package_of(name)
        ),
        "docs/infrastructure.md": lambda text: _infrastructure(text, name),
    }  # fmt: skip


def _swap(*pairs: str) -> Callable[[str], str]:
    """Replace texts, each by the one behind it; TaxiwayError if one is not there."""

    def swap(text: str) -> str:
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            if old not in text:
                raise TaxiwayError(f"{old!r} is no longer in its file", "This is a defect of scripts/init.")
            text = text.replace(old, new)
        return text

    return swap


def _pulumi(text: str, name: str) -> str:
    """Pulumi.yaml without types, which Pulumi takes of a project's own keys alone; ours stay as they are."""
    head, _, _ = text.partition("\n# Every key is validated again")
    return _swap(f"name: {PROJECT}\n", f"name: {name}\n")(head) + (
        "\n# Settings (taxiway:owner and others) are in docs/infrastructure.md; the program checks them.\n"
    )


def _commands(text: str) -> str:
    """The page without commands that went, and without the option that is about the example alone."""
    for command in [gone.name for gone in GONE if gone.parent == Path("scripts")]:
        text = re.sub(rf"(?s)\n## scripts/{command}\n\n```text\n.*?```\n", "", text)
        text = re.sub(rf"(?m)^  {command} .*\n", "", text)
    return re.sub(r"(?m)^  --source .*\n(?: {4,}.*\n)*", "", text)


def _site(text: str, name: str) -> str:
    """The site's settings with the project's name, without the pages that went."""
    text = _swap("site_name: Taxiway\n", f"site_name: {name}\n")(text)
    head, _, _ = text.partition("      - Decisions:\n")
    kept = [
        line for line in head.splitlines() if not line.endswith(tuple(f"- {page}" for page in PRODUCT_PAGES))
    ]
    return "\n".join(kept).removesuffix("\n  - Why:") + "\n"


def _infrastructure(text: str, name: str) -> str:
    """The page with the project's names; its tables are as they were made."""
    names, known = Names.of("acme-data", "alice", pulumi=name), Names.of("acme-data", "alice")
    # The account last: its name is within the bucket's.
    for field in ("bucket", "dataset", "account"):
        text = text.replace(getattr(known, field), getattr(names, field))
    return _MARKER.sub("", text)


def _page(text: str, name: str) -> str:
    """A page without the example: parts that are about it go, commands name datasets that it adds itself."""
    text = _LINK.sub(r"\1", _PICTURE.sub("", _EXAMPLE_PART.sub("", text)))
    return named(text.replace(str(EXAMPLE), f"plugins/{package_of(name)}"), neutral())


def _write_own(folder: Path, name: str) -> None:
    """The files of the template, and a package for entries of its own."""
    for file in (file for file in TEMPLATE.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
        target = folder / file.relative_to(TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8").replace("{{name}}", name)
        target.write_text(text.replace("{{package}}", package_of(name)), encoding="utf-8")
    package = folder / "plugins" / package_of(name)
    (package / "datasets").mkdir(parents=True, exist_ok=True)
    about = '"""Datasets of {}: an entry for each. What an entry may say: docs/your-own-dataset.md."""\n'
    (package / "__init__.py").write_text(about.format(name))
    (package / "datasets" / "__init__.py").write_text('"""One file a dataset, which scripts/new writes."""\n')
