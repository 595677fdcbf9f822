"""An API that answers in pages: all pages of a partition, as they came, one behind the other.

A partition is published once it is over and has a record. An API is not trusted either: it may repeat a page
for ever, break off in the middle of one, or lead to hosts that its secrets are not for.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urljoin, urlsplit

from requests.utils import parse_header_links

from elt.catalogue import Api, Cursor, Dataset, NextLink, Offset, PageNumber
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.formats.pages import LONGEST_PAGE, Page, framed
from elt.periods import Period
from elt.sources.changes import is_over
from elt.sources.client import HttpClient, LoginError, Published, Transfer

# Not 403: here it means that the login may not read this, which no waiting mends.
_ABSENT = (404, 410)


class _Answer(NamedTuple):
    """A page as it came, the Link header that came with it, and how many records it has."""

    content: bytes
    page: Page
    link: str
    records: int


class ApiSource:
    """The partitions of one dataset in the API of its entry, or in the one at `base_url`.

    The other arguments are those of `HttpClient`; leave it as a context manager, too.
    """

    def __init__(
        self, dataset: Dataset, base_url: str = "", *, headers: Mapping[str, Any] | None = None, **how: Any
    ) -> None:
        if not isinstance(dataset.source, Api):
            raise TypeError(f"{dataset.name} is not of an API")
        self._dataset, self._api = dataset, dataset.source
        accept = {"Accept": "application/json", **(headers or {})}
        self._client = HttpClient(base_url or self._api.base_url, headers=accept, absent=_ABSENT, **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    @property
    def base_url(self) -> str:
        """The API's address, without user and password."""
        return self._client.base_url

    def probe(self, period: Period | None) -> Published | None:
        """Ask for the first page that has a record, most often the first; None if there is none (yet)."""
        try:
            # What ends with an error, without a record, ends here as it would in `open`.
            next(iter(self._answers(period)))
        except SourceNotPublishedError:
            return None
        return self._published(period)

    def open(self, period: Period | None) -> "Pages":
        """Prepare to read a partition; the requests are made as its pages are asked for."""
        return Pages(self._published(period), self._answers(period))

    def _published(self, period: Period | None) -> Published:
        return Published(self._url(period, {}), None, None, None)

    def _url(self, period: Period | None, more: Mapping[str, str]) -> str:
        fill = self._dataset.fill
        params = {name: fill(value, period) for name, value in self._api.params.items()}
        path = fill(self._dataset.path, period)
        query = urlencode({**params, **more})
        return f"{self.base_url}{path}{'&' if '?' in path else '?'}{query}" if query else self.base_url + path

    def _answers(self, period: Period | None) -> Iterator[_Answer]:
        """All pages; those before the first record wait for it: a partition without any is not published."""
        name, waiting = self._dataset.file_name(period), list[_Answer]()
        if not is_over(period):
            raise SourceNotPublishedError(f"{name}: not published, since {period} is not over (UTC)")
        found = False
        for answer in self._all(period, name):
            waiting.append(answer)
            if found := found or answer.records > 0:
                yield from waiting
                waiting.clear()
        if not found:
            raise SourceNotPublishedError(f"{name}: not published, no record is at {self._url(period, {})}")

    def _all(self, period: Period | None, name: str) -> Iterator[_Answer]:
        limits = self._client.limits
        until, size = time.monotonic() + limits.seconds, 0
        way = _Way(name, self._api, lambda more: self._url(period, more))
        while way.url:
            called = f"{name}, page {way.pages + 1}"
            answer = self._read(way.url, called, until, first=not way.pages)
            size += len(answer.content)
            if size > limits.size:
                raise PermanentError(
                    f"{called}: {size:,} bytes came, and at most {limits.size:,} are taken. "
                    "If that is right, set TAXI_MAX_FILE_BYTES to more."
                )
            try:
                way.follow(answer)
            except ValueError as error:
                raise PermanentError(f"{called}: {error} ({way.url})") from None
            yield answer
        way.check_count()

    def _read(self, url: str, called: str, until: float, *, first: bool) -> _Answer:
        """Read one page, again where it broke off: another attempt at all of them may take hours."""
        pauses = iter(self._client.patience.pauses)
        while True:
            try:
                # What does not even begin has been tried several times by then.
                transfer = self._client.open(url, called, until=until)
            except (SourceNotPublishedError, LoginError) as error:
                if first:
                    raise
                # The pages before it were given.
                raise TransientError(
                    f"{error}. The pages before it came; try again from the first."
                ) from None
            try:
                with transfer:
                    return self._answer(transfer, url, called)
            except TransientError:
                pause = next(pauses, None)
                if pause is None or time.monotonic() > until:
                    raise
                time.sleep(pause)

    def _answer(self, transfer: Transfer, url: str, called: str) -> _Answer:
        received = bytearray()
        for piece in transfer:
            received += piece
            if len(received) > LONGEST_PAGE:
                raise PermanentError(
                    f"{called}: more than {LONGEST_PAGE:,} bytes. Ask for smaller pages, in params."
                )
        content = bytes(received)
        try:
            page = Page(content)
            page.check()
        except ValueError as error:
            raise TransientError(f"{called}: not JSON ({error}; {url}). Try again.") from None
        try:
            records = sum(1 for _ in page.records(self._api.records))
        except ValueError as error:
            raise PermanentError(f"{called}: {error} ({url}). Correct records in the entry.") from None
        return _Answer(content, page, transfer.headers.get("Link", ""), records)


class Pages:
    """A partition on its way, as `elt.sources.client.Transfer`: each piece is a page in its frame."""

    def __init__(self, published: Published, answers: Iterator[_Answer]) -> None:
        self.published, self._answers = published, answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[bytes]:
        for answer in self._answers:
            yield framed(answer.content)


class _Way:
    """Where the next page is: `url`, "" behind the last. ValueError for a way that leads nowhere."""

    def __init__(self, name: str, api: Api, address: Callable[[Mapping[str, str]], str]) -> None:
        self._name, self._paging, self._address = name, api.paging, address
        self.pages = self._records = 0
        self._total: int | None = None
        self._place = getattr(api.paging, "first", 0)
        self.url: str = address(self._counted())
        self._seen = {self.url}
        self._contents = set[bytes]()

    def follow(self, answer: _Answer) -> None:
        """Go on behind a page."""
        self.pages += 1
        self._records += answer.records
        self._place += answer.records if isinstance(self._paging, Offset) else 1
        content = hashlib.sha256(answer.content).digest()
        if answer.records and content in self._contents:
            raise ValueError("the same page again. Does the API know the parameters of paging?")
        self._contents.add(content)
        self.url = self._next(answer)
        if self.url in self._seen:
            raise ValueError("leads back to a page that was read already")
        if self.url:
            self._seen.add(self.url)

    def check_count(self) -> None:
        """TransientError if the records are not as many as the API counts."""
        if self._total is not None and self._total != self._records:
            raise self._changed(f"{self._records:,} records came, and the API counts {self._total:,}")

    def _changed(self, how: str) -> TransientError:
        return TransientError(f"{self._name}: {how}: they changed while they were read. Try again.")

    def _counted(self) -> dict[str, str]:
        paging = self._paging
        return {paging.param: str(self._place)} if isinstance(paging, PageNumber | Offset) else {}

    def _next(self, answer: _Answer) -> str:
        paging = self._paging
        if isinstance(paging, NextLink):
            link = answer.page.value(paging.path) if paging.path else _next_link(answer.link)
            return self._same_host(link) if link else ""
        if isinstance(paging, Cursor):
            cursor = answer.page.value(paging.path)
            return self._address({paging.param: cursor}) if cursor else ""
        if paging is None or not answer.records:
            return ""
        if paging.total:
            text = answer.page.value(paging.total) or ""
            if not (text.isascii() and text.isdigit()):
                raise ValueError(f"its {paging.total} is {text[:40] or 'missing'}, and has to be a number")
            if self._total not in (None, int(text)):
                raise self._changed(f"the API counts {self._total:,} records, then {text}")
            self._total = int(text)
        return "" if self._records == self._total else self._address(self._counted())

    def _same_host(self, link: str) -> str:
        """A link as an address of the same host: the next page may not lead a worker to other services."""
        here, there = urlsplit(self.url), urlsplit(urljoin(self.url, link))
        # An API behind a proxy may not know that it is asked by https.
        if here.scheme == "https" and there.scheme == "http":
            there = there._replace(scheme="https")
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise ValueError(f"leads to another host, {there.scheme}://{there.hostname}")
        return there._replace(fragment="").geturl()


def _next_link(header: str) -> str:
    links = parse_header_links(header) if header else []
    return next((str(link["url"]) for link in links if "next" in link.get("rel", "").split()), "")
