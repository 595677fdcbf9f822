"""What keeps a task's process small: it does one thing, and there are many of them."""

import sys


class _Nowhere:
    """A finder by which there is no pandas."""

    def find_spec(self, name: str, *_: object) -> None:
        """Called before the finders that would find it."""
        if name == "pandas":
            raise ModuleNotFoundError("not asked for", name=name)


def be_frugal() -> None:
    """Let Arrow do without pandas until somebody asks it for a data frame.

    It looks for pandas when it makes its first value from one of Python's: 40 MB and half a second wherever
    Airflow's Google provider has brought pandas along. It looks once; `to_pandas` looks again.
    """
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    nowhere = _Nowhere()
    sys.meta_path.insert(0, nowhere)
    try:
        pa.array([], pa.null())
    finally:
        sys.meta_path.remove(nowhere)
