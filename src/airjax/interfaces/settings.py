"""Settings of one's own, merged with those that suit the pictures."""

import logging
from collections.abc import Mapping
from typing import Any

from airjax.config import without_effect
from airjax.interfaces.doctor import Report
from airjax.runs.presets import named

_logger = logging.getLogger("airjax")


def merge(own: Mapping[str, Any], look: Report) -> dict[str, Any]:
    """Merge settings of one's own with the proposed ones; one's own win.

    Proposals that have no effect beside one's own settings are left out.

    Logs a warning for each reason why AIR may be the wrong tool.

    Args:
        own: settings by name, in which dashes may stand for underscores. None is a value like any other.
        look: what `doctor.propose` or `doctor.propose_for` found.

    Returns:
        All settings by name, with underscores.
    """
    for doubt in look.doubts:
        _logger.warning("AIR may be the wrong tool: %s", doubt)
    own = named(own)
    merged = look.settings | own
    while vain := without_effect(merged).keys() - own.keys():  # what is left out may have given others their effect
        merged = {name: value for name, value in merged.items() if name not in vain}
    return merged
