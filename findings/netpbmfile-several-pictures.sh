#!/usr/bin/env bash
# A PGM file may hold several pictures, one after the other: the format's own page says so, and Netpbm's tools write and
# read them. netpbmfile tells the number of pictures from the size of the file, as if all that follows the first header
# were pixels. So a file of three small pictures, each with its header, comes as four, and every one after the first has
# pieces of headers among its pixels. Nothing is raised.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check netpbmfile==2026.1.29 numpy==2.2.6
"$folder/env/bin/python" - "$folder/three.pgm" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from netpbmfile import NetpbmFile

print(f"netpbmfile {version('netpbmfile')}")
pictures = [np.full((3, 4), value, np.uint8) for value in (10, 20, 30)]
Path(sys.argv[1]).write_bytes(b"".join(b"P5 4 3 255\n" + picture.tobytes() for picture in pictures))
with NetpbmFile(sys.argv[1]) as file:
    found = file.asarray()
print(f"3 pictures of 3 x 4 pixels were written, and an array of shape {found.shape} is read")
assert found.shape[0] > 3
assert np.array_equal(found[0], pictures[0])
header = np.frombuffer(b"P5 4 3 255", np.uint8)
assert header.tobytes() in found.tobytes()
print("pixels of the second one:", found[1].ravel().tolist())
PYTHON
