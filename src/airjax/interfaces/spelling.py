"""How words of the command line are spelled: whole numbers exactly, and flags also by their former names."""

import logging
import re
from typing import Any

import cyclopts

from airjax.config import ChannelsKind
from airjax.runs.former import SETTINGS

_logger = logging.getLogger("airjax")
_WHOLE = r"[+-]?[0-9_]+"
_SPELLINGS = {int: _WHOLE, tuple[int, ...]: _WHOLE, ChannelsKind: _WHOLE, int | None: rf"{_WHOLE}|(?i:none)"}
_SPELLINGS[tuple[int, ...] | None] = _WHOLE


def exact(kind: Any, tokens: Any) -> Any:
    """Convert as cyclopts does, but refuse to round: 1.5 is not a number of steps."""
    for token in tokens:
        if kind in _SPELLINGS and not re.fullmatch(_SPELLINGS[kind], token.value):
            raise cyclopts.CoercionError(token=token, target_type=int)
    return cyclopts.convert(kind, tokens)


def present_spellings(arguments: list[str]) -> list[str]:
    """Replace former names of flags by the present ones, with a note."""
    present = {f"--{old}".replace("_", "-"): f"--{new}".replace("_", "-") for old, new in SETTINGS.items()}
    words = [word.split("=", 1) for word in arguments]
    for old in {word[0] for word in words} & present.keys():
        _logger.warning("%s is called %s now", old, present[old])
    return ["=".join([present.get(word[0], word[0]), *word[1:]]) for word in words]
