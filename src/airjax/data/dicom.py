"""Read the frames of DICOM files, with the packages of `airjax[dicom]`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from airjax.data.images import Raw, unreadable

_GREY = ("MONOCHROME1", "MONOCHROME2")


class DicomPictures:
    """The frames of a DICOM file."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int):
        """Open a file.

        Raises:
            ValueError: it is damaged, too large or holds no picture, or pydicom is missing.
        """
        try:
            import pydicom
        except ModuleNotFoundError:
            raise ValueError(f"{name} is a DICOM file, which needs pydicom: pip install 'airjax[dicom]'") from None
        try:
            self._file = pydicom.dcmread(source, force=True)
            self._count = int(self._file.get("NumberOfFrames") or 1)
            width, height = int(self._file.get("Columns") or 0), int(self._file.get("Rows") or 0)
            if not width * height or not self._file.get("PixelData"):
                raise ValueError("it holds no picture")
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error, "DICOM picture") from None
        self.pixels = width * height
        if self.pixels > max_pixels:
            raise ValueError(f"{name} has {width} x {height} pixels, too many to read: cut it up first")

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Nothing stays open."""

    def read(self, index: int, name: str) -> Raw:
        """Read one frame; raise ValueError if it is damaged or of a kind that is not read."""
        from pydicom.pixels.processing import apply_color_lut
        from pydicom.pixels.utils import pixel_array

        try:
            kind = self._file.get("PhotometricInterpretation")
            if kind not in (*_GREY, "PALETTE COLOR", "RGB") and not str(kind).startswith("YBR"):
                raise ValueError(f"it has colours of kind {kind}")
            values = pixel_array(self._file, index=index)  # turns YBR into RGB
            values = apply_color_lut(values, self._file) if kind == "PALETTE COLOR" else values
            return self._grey(values, index) if kind in _GREY else self._coloured(values)
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error, "DICOM picture") from None

    def _coloured(self, values: Shaped[np.ndarray, "h w c"]) -> Raw:
        bits = 8 * values.dtype.itemsize if "RedPaletteColorLookupTableData" in self._file else self._file.BitsStored
        if bits <= 8:
            return Raw(values.astype(np.uint8), 255.0)
        return Raw(values.astype(np.uint16), 2.0**bits - 1)

    def _grey(self, values: Shaped[np.ndarray, "h w"], index: int) -> Raw:
        """Turn round what has white as its smallest value, then convert to the units that the file states."""
        bits, signed = int(self._file.BitsStored), bool(self._file.get("PixelRepresentation"))
        if self._file.PhotometricInterpretation == "MONOCHROME1":
            values = (-1 if signed else 2**bits - 1) - values.astype(np.int64)
        converted, scaled = self._in_units(values, index)
        if scaled or signed or bits > 16:
            return Raw(converted.astype(np.float32), None)
        if bits <= 8:
            return Raw(np.rint(values * (255 / (2**bits - 1))).astype(np.uint8), 255.0)
        return Raw(values.astype(np.uint16), 2.0**bits - 1)

    def _in_units(self, values: np.ndarray, index: int) -> tuple[np.ndarray, bool]:
        """Apply the file's own conversion of stored values, and say whether it has one that changes them."""
        from pydicom.pixels.processing import apply_modality_lut

        holder = self._holder(index)
        if "ModalityLUTSequence" in holder:
            return apply_modality_lut(values, holder), True
        slope, intercept = float(holder.get("RescaleSlope", 1)), float(holder.get("RescaleIntercept", 0))
        if (slope, intercept) == (1.0, 0.0):
            return values, False
        return values * slope + intercept, True

    def _holder(self, index: int) -> Any:
        """Return the part of the file that says how values are converted: of this frame, of all, or the file itself."""
        own = self._file.get("PerFrameFunctionalGroupsSequence") or []
        shared = self._file.get("SharedFunctionalGroupsSequence") or []
        for group in [*own[index : index + 1], *shared[:1]]:
            if found := group.get("PixelValueTransformationSequence"):
                return found[0]
        return self._file
