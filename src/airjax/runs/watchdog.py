"""A watchdog: a process that stands still, or no longer heeds Ctrl-C, is ended with a sentence.

Compiled programs run outside of Python. Where one of them never returns, neither an exception nor a signal reaches the
code that called it, so a thread beside it has to notice.
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
"""Seconds without progress, or without processor time, that are always granted."""
TIMES = 10.0
"""Times the median time between two beats that is granted, if that is more."""
PATIENCE = 10.0
"""Seconds that an interrupted process has to end by itself."""
IDLE = 0.01
"""Share of a processor below which a process is idle."""


class Watchdog:
    """Watch that `beat` is called again and again: `with Watchdog(end) as watchdog: ...`.

    Three things end the process:

    - no beat within `TIMES` the median time between beats, and at least `least` seconds;
    - no processor time used for `least` seconds without a beat, which tells a stall before the first beat, too;
    - an interrupt (SIGINT) that has not ended the `with` block within `patience` seconds.

    Time in which the whole process is stopped does not count.
    """

    def __init__(self, end: Callable[[str], None], *, least: float = LEAST, patience: float = PATIENCE) -> None:
        """Watch from the beginning of the `with` block on.

        Args:
            end: called in a thread of its own with what was seen, a clause; it is expected to end the process.
            least: seconds that are always granted.
            patience: seconds that an interrupted process has to end by itself.
        """
        self._end, self._least, self._patience = end, least, patience
        self._tick = min(1.0, least / 10, patience / 10)
        self._silence = self._idle = 0.0
        self._beats: list[float] = []
        self._interrupted: float | None = None

    def beat(self) -> None:
        """Tell that there was progress."""
        self._beats.append(self._silence)
        self._silence = self._idle = 0.0

    def __enter__(self) -> "Watchdog":
        """Begin to watch."""
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        # Python sees a signal only between two of its own instructions; the descriptor is written to at once.
        main = threading.current_thread() is threading.main_thread()
        self._before = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False) if main else None
        self._done = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch no more."""
        self._done = True
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        os.write(self._woken, b"\0")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _watch(self) -> None:
        processor = time.process_time()
        while not self._done:
            ready, _, _ = select.select([self._wake], [], [], self._tick)
            if ready and signal.SIGINT in os.read(self._wake, 64):
                self._interrupted = self._patience
            used, processor = time.process_time() - processor, time.process_time()
            if not self._done and (seen := self._pass(used)):
                self._end(seen)
                return

    def _pass(self, used: float) -> str | None:
        """Let a tick pass in which so many seconds of processor time were used; say what is wrong, if anything is."""
        self._silence += self._tick
        self._idle = self._idle + self._tick if used < IDLE * self._tick else 0.0
        if self._interrupted is not None:
            self._interrupted -= self._tick
            if self._interrupted <= 0:
                return "interrupted while a computation did not return"
        granted = max(self._least, TIMES * statistics.median(self._beats)) if self._beats else float("inf")
        if self._silence > granted:
            return f"training stands still: no progress for {self._silence:.0f} s"
        if self._idle > self._least:
            return f"training stands still: no processor time used for {self._idle:.0f} s"
        return None
