"""An iterator that is worked on ahead, in a thread, while what it gave before is being used."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], count: int = 1) -> Generator[T, None, None]:
    """Yield the items in order, with up to `count` of them in advance, the one in the making included.

    What goes wrong with one is raised in its place. Closing the generator stops the thread.
    """
    ready: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
    room, over = threading.Semaphore(count), threading.Event()
    worker = threading.Thread(target=_work, args=(items, ready, room, over), name="ahead", daemon=True)
    worker.start()
    try:
        while True:
            item, error = ready.get()
            room.release()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]  # the queue holds items, errors and the end
    finally:
        over.set()
        room.release()
        worker.join()


def _work(
    items: Iterable[object],
    ready: "queue.SimpleQueue[tuple[object, BaseException | None]]",
    room: threading.Semaphore,
    over: threading.Event,
) -> None:
    try:
        source, item = iter(items), object()
        while item is not _END:
            room.acquire()
            if over.is_set():
                return
            item = next(source, _END)
            ready.put((item, None))
    except BaseException as error:
        ready.put((None, error))
