#!/usr/bin/env bash
# A PGM says in its header how large a value can be. Pillow returns the values of one that says 65535 as they are, and
# stretches those of one that says 4095 (a camera of 12 bits) to 65535: the same counts of photons differ 16-fold by a
# number in the header, and both come as pictures of 32 bits (mode I).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.2.6
"$folder/env/bin/python" - "$folder/one.pgm" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

print(f"Pillow {PIL.__version__}")
row = [0, 256, 4095]
for most, expected in ((65535, row), (4095, [0, 4097, 65535])):
    Path(sys.argv[1]).write_bytes(b"P5 3 2 %d\n" % most + np.array([row] * 2, ">u2").tobytes())
    with Image.open(sys.argv[1]) as picture:
        pixels = np.asarray(picture)[0].tolist()
        print(f"largest value {most}: stored {row}, read {pixels}, mode {picture.mode}")
        assert picture.mode == "I" and pixels == expected
PYTHON
