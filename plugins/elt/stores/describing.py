"""Where a table's rows come from, as the last line of its description: the same in each store."""

from urllib.parse import urlsplit

from elt.catalogue import Dataset, Publisher

# Where the generated sample is served: this machine, or its service in the containers.
_SAMPLE_HOSTS = ("127.0.0.1", "localhost", "sample-source")
# What such rows are called in a description.
SAMPLE = "sample (generated rows)"
_LINE = "\nLoaded from: "


def is_sample(ds: Dataset, source: str | None) -> bool:
    """Whether rows come from the generated sample, and not from a publisher that is on this machine."""
    own = ds.source.base_url if isinstance(ds.source, Publisher) else ds.path
    hosts = [urlsplit(url or "").hostname for url in (source, own)]
    return hosts[0] in _SAMPLE_HOSTS and hosts[1] not in _SAMPLE_HOSTS


def with_source(text: str | None, ds: Dataset, source: str | None) -> str:
    """The description of a dataset's rows with this source among those that it names.

    Which rows are from which source, the load log says.
    """
    head, _, named = (text or ds.title).partition(_LINE)
    name = SAMPLE if is_sample(ds, source) else source
    names = dict.fromkeys(filter(None, (*named.split(", "), name)))
    return head + (_LINE + ", ".join(names) if names else "")
