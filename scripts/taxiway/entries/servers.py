"""Where an entry's data comes from, as a contract's server, and back.

What logs in, and says which kind of database it is, is an Airflow connection: a contract has its id alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from elt.catalogue import Api, Cursor, Database, Dataset, NextLink, Offset, PageNumber, Publisher
from taxiway.errors import UsageError

OURS = "taxiway"
Json = dict[str, Any]
_PAGING = {kind.__name__: kind for kind in (NextLink, Cursor, PageNumber, Offset)}


def written(ds: Dataset) -> Json:
    """The server of an entry: an API's address is the standard's word, a database's is in the connection."""
    if isinstance(ds.source, Api):
        server: Json = {"server": "source", "type": "api", "location": ds.source.base_url}
    elif isinstance(ds.source, Database):
        server = {"server": "source", "type": "custom"}
    else:
        server = {"server": "source", "type": "custom", "path": ds.path, "format": ds.file_format}
    if ds.file_format.startswith("csv"):
        server["delimiter"] = ds.delimiter
    if ds.source:
        own = _changed(ds.source)
        if isinstance(ds.source, Api):
            own |= {"path": ds.path, **_paging(ds.source)}
            del own["base_url"]
        server["customProperties"] = [{"property": OURS, "value": own}]
    return server


def source(server: Json, own: Json) -> Publisher | Api | Database | None:
    """The source that `own`, our property of a server, describes; None without it, UsageError if none."""
    if not own:
        return None
    try:
        return _source(server, own)
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"what the contract's server has under {OURS} is no source ({error!r})",
            "Write it as scripts/contract does, or leave it out.",
        ) from None


def _source(server: Json, own: Json) -> Publisher | Api | Database:
    given = {name: value for name, value in own.items() if name != "path"}
    if server.get("type") != "api":
        return Publisher(**given) if "base_url" in own else Database(**given)
    if paging := given.get("paging"):
        given["paging"] = _PAGING[paging["by"]](**{k: v for k, v in paging.items() if k != "by"})
    return Api(base_url=str(server.get("location")), **given)


def _paging(api: Api) -> Json:
    return {"paging": {"by": type(api.paging).__name__, **_changed(api.paging)}} if api.paging else {}


def _changed(record: Any) -> Json:
    """Its fields that are not their defaults."""
    found = {each.name: (getattr(record, each.name), each.default) for each in fields(record)}
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, (value, default) in found.items()
        if value not in (default, {})
    }
