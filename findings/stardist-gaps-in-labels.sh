#!/usr/bin/env bash
# stardist comes with a micrograph of nuclei and a volume of them, each with a label image, on which many a detector is
# tried. Their largest labels are 183 and 162, but 125 and 51 nuclei are labelled: the numbers have gaps, as if cut out of
# something larger. Whoever takes the largest label for the number of objects, or makes a list of `labels.max()` masks,
# counts half as many again, or three times as many.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tifffile==2026.3.3 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps stardist==0.9.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

print(f"stardist {version('stardist')}")
images = Path(find_spec("stardist").submodule_search_locations[0]) / "data" / "images"
for name, largest, number in (("mask2d.tif", 183, 125), ("mask3d.tif", 162, 51)):
    labels = tifffile.imread(images / name)
    found = np.unique(labels[labels > 0])
    print(f"{name}, {labels.shape}: the largest label is {labels.max()}, and {len(found)} objects are labelled")
    assert (labels.max(), len(found)) == (largest, number)
    boxes = ndimage.find_objects(labels)
    assert sum(box is None for box in boxes) == largest - number
PYTHON
