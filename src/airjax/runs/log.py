"""A run's log: `metrics.jsonl`, one JSON object per line, and the same numbers and pictures for TensorBoard."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from airjax.files import naming, write_atomically

_logger = logging.getLogger(__name__)


class MetricsLog:
    """Log a run's numbers and pictures: `with MetricsLog(folder) as log: log.write(step, {"elbo": 1.0})`.

    A resumed run ends with the same `metrics.jsonl` as an uninterrupted one: opening the log drops every line
    written after the checkpoint, and TensorBoard hides those steps.
    """

    def __init__(self, folder: Path, start_step: int | None = None) -> None:
        """Open the log.

        Args:
            folder: The run's folder; made if absent.
            start_step: The step of the checkpoint from which the run resumes; later lines are dropped.
                None for a new run, which drops all lines.
        """
        from tensorboardX import SummaryWriter  # lazily: it takes a while to import

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        first = 0 if start_step is None else start_step + 1
        path = folder / "metrics.jsonl"
        _drop_from(path, first)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        # TensorBoard names files by the second. The suffix keeps a quick restart from overwriting the last file.
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=first, flush_secs=10, filename_suffix=f".{first:09d}"
        )

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers at a step.

        Args:
            step: Number of training steps done.
            values: Numbers or 0-d arrays by name. Non-finite ones become null in `metrics.jsonl`.

        Raises:
            ValueError: A value has the name "step".
        """
        if "step" in values:
            raise ValueError("values must not contain 'step', which every line already has")
        floats = {name: float(value) for name, value in values.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in floats.items()}
        with naming(Path(self._file.name)):
            self._file.write(json.dumps({"step": int(step), **finite}, allow_nan=False) + "\n")
            self._file.flush()
        for name, value in floats.items():
            if math.isfinite(value):
                self._board.add_scalar(name, value, int(step))

    def image(
        self,
        step: int,
        name: str,
        image: Float[np.ndarray, "height width"] | Float[np.ndarray, "height width 3"],
    ) -> None:
        """Show an image, with values in 0..1, in TensorBoard."""
        clipped = np.clip(image, 0, 1)
        self._board.add_image(name, clipped, int(step), dataformats="HW" if clipped.ndim == 2 else "HWC")

    def close(self) -> None:
        """Write pending data and close the files."""
        self._file.close()
        self._board.close()

    def __enter__(self) -> "MetricsLog":
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log."""
        self.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read a run's `metrics.jsonl`; skip half-written lines with a warning. Without a file there are no records."""
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        return []
    return [record for line in _lines(path) if (record := _parse(line, path)) is not None]


def _lines(path: Path) -> list[str]:
    # splitlines would also split at characters that JSON allows inside strings.
    return [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line]


def _parse(line: str, path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("step"), int):
        return record
    _logger.warning("Skipping an unreadable line of %s: %.60r", path, line)
    return None


def _drop_from(path: Path, first: int) -> None:
    """Remove unreadable lines and those of step `first` and later; leave the others as they are."""
    if not path.exists():
        return
    kept = [line for line in _lines(path) if (record := _parse(line, path)) is not None and record["step"] < first]
    write_atomically(path, "".join(line + "\n" for line in kept).encode())
