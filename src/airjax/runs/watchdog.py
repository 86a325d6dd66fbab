"""A watchdog that ends a process which has stalled or ignores Ctrl-C.

Compiled programs run outside of Python. If one of them never returns, neither an exception nor a signal reaches the
code that called it. A second thread has to notice.
"""

import os
import select
import signal
import statistics
import threading
import time
from collections.abc import Callable
from types import TracebackType

LEAST = 120.0
"""Seconds without progress, or without processor time, that are always allowed."""
TIMES = 10.0
"""Allowed time without progress, as a multiple of the median time between beats, if that is more than `LEAST`."""
PATIENCE = 10.0
"""Seconds in which an interrupted process must end by itself."""
IDLE = 0.01
"""Share of one processor below which a process counts as idle."""


class Watchdog:
    """Check that `beat` is called regularly: `with Watchdog(end) as watchdog: ...`.

    Three things end the process:

    - no beat within `TIMES` the median time between beats, and at least `least` seconds;
    - no processor time used for `least` seconds without a beat, which also detects a stall before the first beat;
    - an interrupt (SIGINT) that has not ended the `with` block within `patience` seconds.

    Time during which the whole process is suspended does not count. Code that never gives up Python's lock can't be
    noticed from within the process; SIGQUIT (Ctrl and backslash) ends that.
    """

    def __init__(self, end: Callable[[str], None], *, least: float = LEAST, patience: float = PATIENCE) -> None:
        """Prepare a watchdog; it starts with the `with` block.

        Args:
            end: called in the thread of the watchdog with the reason, a clause; it should end the process.
            least: seconds that are always allowed.
            patience: seconds in which an interrupted process must end by itself.
        """
        self._end, self._least, self._patience = end, least, patience
        self._tick = min(1.0, least / 10, patience / 10)
        self._silence = self._idle = 0.0
        self._beats: list[float] = []
        self._interrupted: float | None = None

    def beat(self) -> None:
        """Report progress."""
        self._beats.append(self._silence)
        self._silence = self._idle = 0.0

    def __enter__(self) -> "Watchdog":
        """Start watching."""
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        # Python handles a signal only between two of its own instructions; the descriptor is written to at once.
        main = threading.current_thread() is threading.main_thread()
        self._before = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False) if main else None
        self._done = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._done = True
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        os.write(self._woken, b"\0")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _watch(self) -> None:
        others = lambda: time.process_time() - time.thread_time()  # without the watchdog itself
        processor = others()
        while not self._done:
            ready, _, _ = select.select([self._wake], [], [], self._tick)
            if ready and signal.SIGINT in os.read(self._wake, 64):
                self._interrupted = self._patience
            now = others()
            used, processor = now - processor, now
            if not self._done and (reason := self._pass(used)):
                self._end(reason)
                return

    def _pass(self, used: float) -> str | None:
        """Count one tick, in which `used` seconds of processor time were spent; return a reason to end the process."""
        self._silence += self._tick
        self._idle = self._idle + self._tick if used < IDLE * self._tick else 0.0
        if self._interrupted is not None:
            self._interrupted -= self._tick
            if self._interrupted <= 0:
                return "interrupted while a computation did not return"
        allowed = max(self._least, TIMES * statistics.median(self._beats)) if self._beats else float("inf")
        if self._silence > allowed:
            return f"training stands still: no progress for {self._silence:.0f} s"
        if self._idle > self._least:
            return f"training stands still: no processor time used for {self._idle:.0f} s"
        return None
