"""A single worker thread with a bounded queue."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREAD = "airjax-worker"
"""Beginning of the names of worker threads."""
T = TypeVar("T")


class Busy(Exception):
    """The queue is full."""


class Worker:
    """Run one task after another; at most `places` tasks run or wait."""

    def __init__(self, places: int):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
        self._free = threading.BoundedSemaphore(places)

    def begin(self, *functions: Callable[[], object]) -> None:
        """Queue tasks ahead of later requests; they take no place, and nobody waits for them."""
        for function in functions:
            self._thread.submit(function)

    def close(self) -> None:
        """Finish the running task and drop the waiting ones."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function()` in the thread and wait for its result.

        Raises:
            Busy: the queue is full.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        future = self._thread.submit(function)
        # The place is kept until the work is done or dropped, even if nobody waits for it any more.
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)
