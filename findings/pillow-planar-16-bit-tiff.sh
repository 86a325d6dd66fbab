#!/usr/bin/env bash
# A colour TIFF of 16 bits whose channels lie one after the other (planar, what tifffile writes of an array
# [3, height, width]) is opened by Pillow as an ordinary 8-bit RGB picture, without an error or a warning. Its pixels are
# neither the upper nor the lower bytes of the true values: low and high bytes of one channel alternate along a row.
# A picture of a smooth ramp becomes noise of full contrast, and no one is told.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.2.6
"$folder/env/bin/python" - "$folder/ramp.tif" <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

rows, columns = np.mgrid[:32, :40]
truth = np.stack([1000 * columns, 1500 * rows, 3000 + 0 * rows]).astype(np.uint16)
tifffile.imwrite(sys.argv[1], truth, photometric="rgb")
picture = Image.open(sys.argv[1])
pixels = np.asarray(picture)
upper, lower = (np.moveaxis(half.astype(np.uint8), 0, -1) for half in (truth >> 8, truth & 255))
error = np.abs(pixels.astype(int) - upper).mean()
print(f"Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
print(f"mode {picture.mode}, {pixels.dtype}, mean distance from the upper bytes {error:.1f} of 255")
print(f"red, first row: Pillow {pixels[0, :6, 0]}, upper bytes {upper[0, :6, 0]}, lower bytes {lower[0, :6, 0]}")
assert np.array_equal(tifffile.imread(sys.argv[1]), truth)
assert picture.mode == "RGB" and pixels.dtype == np.uint8
assert error > 50 and not np.array_equal(pixels, lower)
PYTHON
