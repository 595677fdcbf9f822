"""Prefetch an iterator in a background thread."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
# A thread still busy with its item this many seconds after close() is left to itself (it is a daemon).
JOIN_SECONDS = 60.0
_END = object()


def prefetch(items: Iterable[T], count: int = 1) -> Generator[T, None, None]:
    """Yield items in order, keeping at most `count` prefetched (including the one being produced).

    An error raised by the iterator is raised in the place of its item. Closing the generator stops the
    thread and closes the iterator: wrap it in `contextlib.closing` wherever the consumer may stop early.
    """
    ready = queue.SimpleQueue[tuple[object, BaseException | None]]()
    # A bounded queue would not do: its producer would already hold one item more than the queue takes.
    room, stopped, source = threading.Semaphore(count), threading.Event(), iter(items)

    def produce() -> None:
        try:
            item: object = None
            while item is not _END:
                room.acquire()
                if stopped.is_set():
                    return
                item = next(source, _END)
                ready.put((item, None))
        except BaseException as error:
            ready.put((None, error))
        finally:
            # A generator is closed in the thread that ran it: nobody else may while it is executing.
            if isinstance(source, Generator):
                source.close()

    worker = threading.Thread(target=produce, name="prefetch", daemon=True)
    worker.start()
    try:
        while True:
            # No time-out: the worker always puts an item, its error or the end.
            item, error = ready.get()
            room.release()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]  # the queue holds items, errors and the end
    finally:
        stopped.set()
        room.release()
        worker.join(JOIN_SECONDS)
