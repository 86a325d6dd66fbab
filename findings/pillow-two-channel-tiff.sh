#!/usr/bin/env bash
# A TIFF with two channels, as microscopes write them, has two layouts. With the channels of a pixel side by side, Pillow
# opens it as a grey picture and drops the second channel without a word. With one channel after the other, it says that
# the file is no picture at all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.2.6
"$folder/env/bin/python" - "$folder/two.tif" <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image, UnidentifiedImageError

print(f"Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
channels = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.uint8)
tifffile.imwrite(sys.argv[1], np.moveaxis(channels, 0, -1), photometric="minisblack", planarconfig="contig")
with Image.open(sys.argv[1]) as picture:
    print(f"side by side: mode {picture.mode}, {getattr(picture, 'n_frames', 1)} frame")
    assert picture.mode == "L" and getattr(picture, "n_frames", 1) == 1
    assert np.array_equal(np.asarray(picture), channels[0])
tifffile.imwrite(sys.argv[1], channels, photometric="minisblack", planarconfig="separate")
try:
    Image.open(sys.argv[1])
    raise SystemExit("one after the other: opened")
except UnidentifiedImageError as error:
    print(f"one after the other: {type(error).__name__}")
assert tifffile.imread(sys.argv[1]).shape == (2, 8, 8)
PYTHON
