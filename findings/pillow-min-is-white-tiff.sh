#!/usr/bin/env bash
# TIFF has pictures in which the smallest value is white. Pillow turns such a picture round (0 becomes 255) if it has 8
# bits, and leaves it as it is if it has 16 bits: the same scene, saved at either depth, is a positive or a negative.
# tifffile turns neither. Whoever mixes depths, or both readers, counts light things in one half of the files and dark
# ones in the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.2.6
"$folder/env/bin/python" - "$folder/one.tif" <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
row = [0, 100, 200]
for kind, expected in ((np.uint8, [255, 155, 55]), (np.uint16, row)):
    tifffile.imwrite(sys.argv[1], np.array([row] * 4, kind), photometric="miniswhite")
    with Image.open(sys.argv[1]) as picture:
        pillow = np.asarray(picture)[0].tolist()
    other = tifffile.imread(sys.argv[1])[0].tolist()
    print(f"{kind.__name__}: stored {row}, Pillow {pillow}, tifffile {other}")
    assert pillow == expected and other == row
PYTHON
