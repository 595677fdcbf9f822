"""An iterator that is worked on ahead, in a thread, while what it gave before is being used."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], count: int = 2) -> Generator[T, None, None]:
    """Yield the items in order, with up to `count` of them ready in advance.

    What goes wrong with one is raised in its place. Closing the generator stops the thread.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(count)
    over = threading.Event()
    worker = threading.Thread(target=_work, args=(items, ready, over), name="ahead", daemon=True)
    worker.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]  # the queue holds items, errors and the end
    finally:
        over.set()
        while not ready.empty():
            ready.get_nowait()
        worker.join()


def _work(
    items: Iterable[object], ready: "queue.Queue[tuple[object, BaseException | None]]", over: threading.Event
) -> None:
    try:
        for item in items:
            ready.put((item, None))
            if over.is_set():
                return
    except BaseException as error:
        ready.put((None, error))
    else:
        ready.put((_END, None))
