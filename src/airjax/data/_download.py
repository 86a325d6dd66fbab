"""Download files once, from the first mirror that delivers them intact."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pooch

_RETRIES = 2
_TIMEOUT = 30

T = TypeVar("T")


def download(name: str, mirrors: Sequence[str], read: Callable[[Path], T]) -> T:
    """Read a file from the user's cache folder, and download it first if it is missing or damaged.

    Args:
        name: Name of the file.
        mirrors: URLs of folders that hold the file, in the order tried.
        read: Reads and verifies the file. It raises ValueError or OSError if the file is damaged.

    Returns:
        The result of `read`.

    Raises:
        ConnectionError: If no mirror delivers the file intact.
    """
    cache, reasons = Path(pooch.os_cache("airjax")), []
    for mirror in (None, *mirrors):
        try:
            if mirror is not None:
                _fetch(mirror, name, cache)
            return read(cache / name)
        except (OSError, ValueError) as error:
            reasons.append(f"{mirror}: {error}")
            (cache / name).unlink(missing_ok=True)
    raise ConnectionError(
        f"{name} could not be downloaded; pass data_dir to use local files ({'; '.join(reasons[1:])})"
    )


def _fetch(mirror: str, name: str, cache: Path) -> None:
    # Mirrors may compress a file differently, so the registry has no digest. `read` verifies the content instead.
    source = pooch.create(path=cache, base_url=mirror, registry={name: None}, retry_if_failed=_RETRIES)
    downloader: Any = pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT)  # pooch's own protocol type rejects it
    source.fetch(name, downloader=downloader)
