"""Compiled programs, kept between commands."""

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '(\w+)'")
"""JAX's warning of a program that can't be read."""
_logger = logging.getLogger("airjax")


def keep_compiled() -> None:
    """Keep compiled programs between commands, in the user's cache folder unless the environment says otherwise."""
    import jax
    import pooch

    # The environment is for processes that this one starts. JAX read it when it was imported.
    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("airjax") / "compiled"))
    least = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(least))
    _replace_damaged(Path(folder))


def _replace_damaged(folder: Path) -> None:
    """Remove programs that JAX can't read.

    A process that is killed while it writes one leaves a part of it. JAX would warn of that at every later start,
    compile the program again, and not replace the file (`findings/jax-damaged-cache-entry-stays.sh`).
    """
    show = warnings.showwarning

    def showwarning(message: Warning | str, *about: Any, **further: Any) -> None:
        if not (damaged := DAMAGED.match(str(message))):
            return show(message, *about, **further)
        _logger.info("a compiled program was damaged; it is compiled again")
        for file in folder.glob(f"{damaged[1]}-*-cache"):
            file.unlink(missing_ok=True)

    warnings.showwarning = showwarning
