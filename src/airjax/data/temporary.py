"""Temporary folders that are removed in the end, even if the process that has made them is killed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

_LOCK = ".lock"
_NEW = 60.0
"""Time, in seconds, in which a folder is surely locked by the process that has made it."""


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder and remove it at the end of the block; those of processes that were killed are removed first.

    Args:
        prefix: how names of such folders begin, and no others.
        parent: where the folder is made; by default in the folder for temporary files.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_remains(prefix, parent)
    made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    with made as name, filelock.FileLock(Path(name) / _LOCK):
        yield Path(name)


def _remove_remains(prefix: str, parent: Path) -> None:
    """Remove folders whose lock nobody holds."""
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError, filelock.Timeout):
            if time.time() - folder.stat().st_mtime > _NEW:
                with filelock.FileLock(folder / _LOCK).acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
