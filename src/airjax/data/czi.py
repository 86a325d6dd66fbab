"""Read the pictures of CZI files, with the package of `airjax[czi]`."""

from pathlib import Path
from typing import Any

import numpy as np

from airjax.data.images import Raw, unreadable

_IN_A_PICTURE = "XYC"


class CziPictures:
    """The pictures of an open CZI file: every scene, and every index of its time, depth and other dimensions."""

    def __init__(self, path: Path, name: str, max_pixels: int):
        """Open a file.

        Raises:
            ValueError: it is damaged or holds no picture, or pylibCZIrw is missing.
        """
        try:
            from pylibCZIrw import czi
        except ModuleNotFoundError:
            raise ValueError(f"{name} is a CZI file, which needs pylibCZIrw: pip install 'airjax[czi]'") from None
        self._max_pixels = max_pixels
        try:
            self._reader = czi.CziReader(str(path))
            box: dict[str, Any] = dict(self._reader.total_bounding_box)
            self._scenes = sorted(self._reader.scenes_bounding_rectangle) or [None]
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error, "CZI file") from None
        self._channels = range(*box.pop("C", (0, 1)))
        outer = {axis: span for axis, span in box.items() if axis not in _IN_A_PICTURE}
        self._axes, self._starts = list(outer), [start for start, _ in outer.values()]
        area = self._reader.total_bounding_rectangle
        self.pixels = area.w * area.h
        self._shape = (len(self._scenes), *(end - start for start, end in outer.values()))

    def __len__(self) -> int:
        return int(np.prod(self._shape))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def read(self, index: int, name: str) -> Raw:
        """Read one picture with all its channels; raise ValueError if it is damaged or too large."""
        scene, *where = map(int, np.unravel_index(index, self._shape))
        plane = {axis: start + place for axis, start, place in zip(self._axes, self._starts, where)}
        try:
            chosen = self._scenes[scene]
            whole, parts = self._reader.total_bounding_rectangle, self._reader.scenes_bounding_rectangle
            area = whole if chosen is None else parts[chosen]
            if area.w * area.h > self._max_pixels:
                raise ValueError(f"it has {area.w} x {area.h} pixels, too many to read: cut it up first")
            parts = [self._reader.read(plane={**plane, "C": c}, scene=chosen) for c in self._channels]
            values, colours = np.concatenate(parts, axis=-1), {part.shape[-1] for part in parts}
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error, "CZI file") from None
        if len(parts) > 1 and (colours != {1} or len({part.dtype for part in parts}) > 1):
            raise ValueError(f"{name} has several channels of several samples or kinds, which is not read")
        values = values[..., ::-1] if colours == {3} else values  # stored as blue, green and red
        most = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 2.0**16 - 1}.get(values.dtype)
        return Raw(values, most)
