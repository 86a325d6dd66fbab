"""Commands of several processes: how each joins the others, what it says, and how it ends when one is lost.

JAX ends a process whose peers are lost by SIGABRT, after lines of its own; gloo prints to stdout. Both write past
Python. Here, their lines go to a temporary file, and one sentence of ours is said instead. With AIRJAX_DEBUG set, they
are shown as they are.
"""

import contextlib
import ctypes
import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cyclopts

from airjax.interfaces.console import INTERRUPTED, USER_ERROR, end_now
from airjax.runs import processes
from airjax.runs.processes import Place

LOST = 5
"""Exit code of a training run that lost another process."""
PATIENCE = 5.0
"""Seconds that a process which has failed leaves the others to say why they fail, too."""
OF_JAX = "JAX distributed service", "oordination service", "coordination_service"
"""Words of JAX's last lines when another process is lost."""
OF_COLLECTIVES = "Gloo", "gloo", "NCCL", *OF_JAX
"""Words of errors of an exchange between processes."""
SENTENCE = (
    "airjax: another process of this training has ended or can't be reached; run the same commands again to go on from "
    "the last checkpoint"
)
_speaking = threading.Lock()


@dataclass
class _Self:
    """Where this process stands.

    Attributes:
        joining: its place, and the longest time to wait for the others, while it joins them.
        joined: whether it has joined others.
        leaving: whether it is about to end.
        on_abort: what answers an abort, kept from being freed.
    """

    joining: tuple[Place, int] | None = None
    joined: bool = False
    leaving: bool = False
    on_abort: Any = None


_self = _Self()


def join(app: cyclopts.App, tokens: Sequence[str]) -> None:
    """Join the other processes if a training is one of several; otherwise do nothing.

    Raises:
        ValueError: see `processes.find_place` and `processes.join`.
        cyclopts.CycloptsError: the words can't be parsed.
    """
    given = _given(app, tokens)
    place = None if given is None else processes.find_place(*given[:3])
    if given is None or place is None:
        return
    timeout = given[3]
    if timeout < 1:
        raise ValueError(f"join_timeout must be at least 1, got {timeout}")
    if place.process_id:
        logging.getLogger("airjax").setLevel(logging.WARNING)
    if not os.environ.get("AIRJAX_DEBUG"):
        _part_streams(bool(place.process_id))
    _self.joining = place, timeout
    processes.join(place, timeout)
    _self.joined, _self.joining = True, None


def _given(app: cyclopts.App, tokens: Sequence[str]) -> tuple[Any, Any, Any, int] | None:
    """Return what the flags of a training say of the processes; None if only help is asked for."""
    app.config = ()
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    if command.__name__ != "train":
        return None
    bound.apply_defaults()
    return tuple(bound.arguments[name] for name in ("coordinator", "processes", "process_id", "join_timeout"))


def end(code: int) -> int:
    """Leave the other processes, and end if there are any; return the code if there are none.

    A process that has failed gives the others a few seconds: they may be about to fail for the same reason.
    """
    if not _self.joined:
        return code
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    _self.leaving = True
    if code != INTERRUPTED:
        late = threading.Timer(PATIENCE if code else processes.LEAVING + PATIENCE, os._exit, [code])
        late.daemon = True
        late.start()
        with contextlib.suppress(Exception):
            processes.leave()
    os._exit(code)


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that another process is lost."""
    return _self.joined and any(words in str(error) for words in OF_COLLECTIVES)


def end_by(error: BaseException) -> None:
    """End after an error that no command expects: with our sentence if another process is lost, or a traceback."""
    if not _self.joined:
        return
    if is_lost(error):
        _say_and_end(SENTENCE, LOST)
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(1)


def _say_and_end(sentence: str, code: int) -> None:
    if not _speaking.acquire(blocking=False):
        time.sleep(PATIENCE)  # the other thread ends the process
    end_now(sentence, code)


def _part_streams(quiet: bool) -> None:
    """Part what Python writes from what libraries write past it.

    Args:
        quiet: whether stderr counts as no terminal, so that no progress is shown.
    """
    hidden = tempfile.TemporaryFile()  # noqa: SIM115 (open until the process ends)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
            own = os.dup(number)
            kind = _NoTerminal if quiet else io.TextIOWrapper
            raw = os.fdopen(own, "wb", buffering=0 if name == "stderr" else -1)
            parted = kind(raw, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)
            setattr(sys, name, parted)
            os.dup2(hidden.fileno(), number)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    _answer_abort(hidden)


class _NoTerminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


def _answer_abort(hidden: Any) -> None:
    """Say one sentence where JAX aborts the process; other aborts show what was hidden.

    Python's own handlers of signals run in the main thread, which abort() doesn't wait for; this one runs at once.
    """

    def answer(number: int) -> None:
        size = os.fstat(hidden.fileno()).st_size
        text = os.pread(hidden.fileno(), 2**16, max(size - 2**16, 0)).decode(errors="replace")
        if not any(words in text for words in OF_JAX):
            os.write(sys.stderr.fileno(), text.encode())
            ctypes.CDLL(None).signal(number, ctypes.c_void_p(0))  # the default: the process ends when we return
        elif _self.leaving:
            os._exit(LOST)
        elif _self.joining:
            _say_and_end(f"airjax: {_not_joined(text, *_self.joining)}", USER_ERROR)
        else:
            _say_and_end(SENTENCE, LOST)

    _self.on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(answer)
    ctypes.CDLL(None).signal(signal.SIGABRT, _self.on_abort)


def _not_joined(text: str, place: Place, timeout: int) -> str:
    """Say why processes did not join."""
    where = place.coordinator or "process 0"
    if "DEADLINE" in text.upper():
        whom = "not all of the other processes came" if place.process_id == 0 else f"{where} did not answer"
        return (
            f"{whom} within {timeout} s (--join-timeout); start one command for each --process-id from 0 to "
            f"{(place.processes or 0) - 1}, with the same --coordinator"
        )
    return (
        "the processes can't join: each must have the same --processes and a --process-id of its own, from 0 to "
        f"{(place.processes or 0) - 1}; got --processes {place.processes} --process-id {place.process_id}"
    )
