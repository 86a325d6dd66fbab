"""Read the frames of videos, with the packages of `airjax[video]`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from airjax.data.images import Raw, warn_cut


class VideoPictures:
    """The frames of an open video. They are decoded in order: going back starts again from the first."""

    def __init__(self, path: Path, name: str, max_pixels: int):
        """Open a video and count its frames, without decoding them.

        Raises:
            ValueError: it is damaged or holds no frame, or PyAV is missing.
        """
        try:
            import av
            from av.error import FFmpegError
        except ModuleNotFoundError:
            raise ValueError(f"{name} is a video, which needs PyAV: pip install 'airjax[video]'") from None
        self._open, self._max_pixels = lambda: av.open(str(path)), max_pixels
        self._damage = (FFmpegError, IndexError, ValueError)
        self._file, self._frames, self._next = None, iter(()), 0
        try:
            with self._open() as file:
                self.pixels = file.streams.video[0].width * file.streams.video[0].height
                # The number in the header is absent from many files.
                packets = [packet for packet in file.demux(file.streams.video[0]) if packet.size > 0]
                self._count = len(packets)
                cut = _is_cut(file, packets)
        except self._damage as error:
            raise _damaged(name, error) from None
        if not self._count:
            raise ValueError(f"{name} holds no frame")
        if cut:
            warn_cut(name, self._count)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, index: int, name: str) -> Image.Image | Raw:
        """Read one frame, turned as the video says.

        Raises:
            ValueError: it is damaged, too large, or absent although its data are there.
        """
        try:
            frame = self._frame(index)
            if frame is not None and frame.width * frame.height > self._max_pixels:
                raise ValueError(f"it has {frame.width} x {frame.height} pixels, too many to read: cut it up first")
        except self._damage as error:
            raise _damaged(name, error) from None
        if frame is None:
            raise ValueError(f"{name} is missing: the video ends after {self._next} frames")
        return _converted(frame)

    def _frame(self, index: int) -> Any:
        if self._file is None or index < self._next:
            self.close()
            self._file, self._next = self._open(), 0
            self._frames: Iterator[Any] = self._file.decode(self._file.streams.video[0])
        for frame in self._frames:
            self._next += 1
            if self._next == index + 1:
                return frame
        return None


def _is_cut(file: Any, packets: list[Any]) -> bool:
    """Return whether a video's header tells of more frames, or of a longer time, than the packets that are there."""
    stream = file.streams.video[0]
    if stream.frames or not packets:
        return stream.frames > len(packets)
    ends = [packet.pts + (packet.duration or 0) for packet in packets if packet.pts is not None]
    if len(file.streams) > 1 or not ends or not file.duration or not stream.average_rate:
        return False  # the time told may be that of sound
    there = float(max(ends) * stream.time_base) - (file.start_time or 0) / 1e6
    return file.duration / 1e6 - there > 2.5 / float(stream.average_rate)


def _converted(frame: Any) -> Image.Image | Raw:
    """Convert a frame to grey of its own depth, or to colour of 8 bits."""
    parts, turns = frame.format.components, frame.rotation // 90
    turned = lambda pixels: np.ascontiguousarray(np.rot90(pixels, turns))
    if len(parts) == 1 and not frame.format.has_palette:
        if parts[0].bits > 8:
            return Raw(turned(frame.to_ndarray(format="gray16le")), 2.0**16 - 1)
        return Image.fromarray(turned(frame.to_ndarray(format="gray")))
    kind = "rgba" if any(part.is_alpha for part in parts) else "rgb24"
    return Image.fromarray(turned(frame.to_ndarray(format=kind)))


def _damaged(name: str, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ValueError(f"{name} is not a video that can be read: {reason}")
