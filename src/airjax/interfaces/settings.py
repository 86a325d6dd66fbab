"""Settings of one's own, merged with those that suit the pictures."""

import logging
from collections.abc import Mapping
from typing import Any

from airjax.interfaces.doctor import Report

_logger = logging.getLogger("airjax")


def merge(own: Mapping[str, Any], look: Report) -> dict[str, Any]:
    """Merge settings of one's own with the proposed ones; one's own win.

    Logs a warning for each reason why AIR may be the wrong tool.

    Args:
        own: settings by name, in which dashes may stand for underscores. None is a value like any other.
        look: what `doctor.propose` or `doctor.propose_for` found.

    Returns:
        All settings by name, with underscores.
    """
    for doubt in look.doubts:
        _logger.warning("AIR may be the wrong tool: %s", doubt)
    return look.settings | {name.replace("-", "_"): value for name, value in own.items()}
