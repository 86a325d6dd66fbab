#!/usr/bin/env bash
# Microscopes write an OME-TIFF data set as several files, each of which describes all of them. If one of them was not
# copied along, tifffile reads the others as a stack of the full length, in which the missing pictures are black. A line
# in its log says so, but it does not raise. Black pictures are valid ones: whoever counts things in them finds none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tifffile==2026.3.3 numpy==2.2.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import tifffile

print(f"tifffile {tifffile.__version__}")
folder, names = Path(sys.argv[1]), ("a.ome.tif", "b.ome.tif")
ids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{number}" for number in range(2)]
parts = "".join(
    f'<TiffData IFD="0" FirstT="{number}" PlaneCount="1"><UUID FileName="{name}">{ids[number]}</UUID></TiffData>'
    for number, name in enumerate(names)
)
for number, name in enumerate(names):
    description = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[number]}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" SizeZ="1" SizeC="1" SizeT="2">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels></Image></OME>'
    )
    pixels = np.full((8, 8), 100 + number, np.uint8)
    tifffile.imwrite(folder / name, pixels, description=description, photometric="minisblack", metadata=None)
both = tifffile.imread(folder / names[0])
print(f"both files: shape {both.shape}, values {[int(one.max()) for one in both]}")
assert both.shape == (2, 8, 8) and [int(one.max()) for one in both] == [100, 101]
(folder / names[1]).unlink()
alone = tifffile.imread(folder / names[0])
print(f"one of them: shape {alone.shape}, values {[int(one.max()) for one in alone]}")
assert alone.shape == (2, 8, 8) and [int(one.max()) for one in alone] == [100, 0]
PYTHON
