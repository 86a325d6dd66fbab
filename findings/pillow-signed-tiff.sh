#!/usr/bin/env bash
# Signed TIFFs, which differences of pictures give: Pillow reads -1 of 16 bits as -1, in a picture of 32 bits, but -1 of 8
# bits as 255, in a picture that looks like any other. What is slightly darker than nothing becomes the brightest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.2.6
"$folder/env/bin/python" - "$folder/signed.tif" <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
row = [-1, -128, 0, 127]
for kind, mode, expected in ((np.int8, "L", [255, 128, 0, 127]), (np.int16, "I", row)):
    tifffile.imwrite(sys.argv[1], np.array([row] * 4, kind))
    with Image.open(sys.argv[1]) as picture:
        pixels = np.asarray(picture)[0].tolist()
        print(f"{kind.__name__}: stored {row}, Pillow {pixels} in mode {picture.mode}")
        assert (picture.mode, pixels) == (mode, expected)
PYTHON
