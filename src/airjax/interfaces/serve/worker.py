"""One thread that does the work, and a queue in front of it that can be full."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Busy(Exception):
    """The queue is full."""


class Worker:
    """Do one thing after the other, with at most `places` being done or waiting."""

    def __init__(self, places: int):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="airjax")
        self._free = threading.BoundedSemaphore(places)

    def begin(self, *functions: Callable[[], object]) -> None:
        """Do these before all that comes later; nobody waits for them, and they take no place."""
        for function in functions:
            self._thread.submit(function)

    def close(self) -> None:
        """Finish what is being done, and drop what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[[], T]) -> T:
        """Wait for `function()`, done by the thread.

        Raises:
            Busy: the queue is full.
        """
        if not self._free.acquire(blocking=False):
            raise Busy
        future = self._thread.submit(function)
        # The place is kept until the work is done or dropped, even if nobody waits for it any more.
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)
