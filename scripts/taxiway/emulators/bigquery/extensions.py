"""DuckDB's extensions, from the wheels instead of from the network."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

NAMES = ("spatial", "avro")
logger = logging.getLogger("bigquery")


def provide(home: Path, version: str, platform: str) -> None:
    """Link the wheels' extension files to where DuckDB looks for installed ones, under `home`.

    A link costs nothing; INSTALL copies 90 MB. It is made anew at each start because the wheels may move.
    """
    folder = home / ".duckdb" / "extensions" / version / platform
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        target = folder / f"{name}.duckdb_extension"
        target.unlink(missing_ok=True)
        target.symlink_to(wheel_file(name, version))


def wheel_file(name: str, version: str) -> Path:
    """Return the extension's file in its wheel. Raises FileNotFoundError naming the package to install."""
    package = f"duckdb_extension_{name}"
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        path = Path(root) / "extensions" / version / f"{name}.duckdb_extension"
        if path.exists():
            return path
    wanted = package.replace("_", "-")
    raise FileNotFoundError(f"DuckDB {version} needs {wanted} of the same version; looked in {roots}.")


def load_for(connection: Any, error: Exception) -> bool:
    """Load the extension that `error` asks for; return whether there was one.

    Gap: the library loads spatial (0.25 s) at each start, though only GEOGRAPHY needs it.
    """
    for name in NAMES:
        if f"in the {name} extension" in str(error):
            logger.info("loading DuckDB's %s extension", name)
            connection.execute(f"LOAD {name}")
            return True
    return False
