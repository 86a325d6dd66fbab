"""Locks on outputs, so that no two processes write the same files at once."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock


@contextmanager
def locked(paths: Iterable[Path]) -> Iterator[None]:
    """Hold a lock for each file; the operating system releases them when the process ends, however it ends.

    Args:
        paths: the files that are the locks. They are made, with their folders, and removed at the end.

    Raises:
        ValueError: another process holds one of them.
    """
    with ExitStack() as stack:
        for path in sorted({path.absolute() for path in paths}):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path)
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except filelock.Timeout:
                raise ValueError(
                    f"{path.parent} has an output that another process is writing; wait for it or choose another output"
                ) from None
            stack.callback(path.unlink, missing_ok=True)  # while it is held, so that no other's lock is removed
        yield
