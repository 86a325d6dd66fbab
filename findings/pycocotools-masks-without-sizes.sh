#!/usr/bin/env bash
# Masks in COCO's run-length encoding carry their own size, and an image entry needs no more than an id for boxes to be
# scored. With masks it is different: pycocotools looks up height and width in the image entry all the same, and where
# they are left out it ends with KeyError: 'height' in the middle of the evaluation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.2.6
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

print(f"pycocotools {version('pycocotools')}")
square = np.zeros((16, 16), np.uint8, order="F")
square[2:10, 2:10] = 1
one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 8, 8], "area": 64, "iscrowd": 0}
one["segmentation"] = mask.encode(square)


def scored(image, kind):
    truth, found = COCO(), COCO()
    for part in (truth, found):
        part.dataset = {"images": [image], "annotations": [one | {"score": 1.0}], "categories": [{"id": 1}]}
        part.createIndex()
    evaluation = COCOeval(truth, found, kind)
    evaluation.evaluate()
    return evaluation.evalImgs[0] is not None


assert scored({"id": 1}, "bbox")
print("boxes, image with an id alone: scored")
try:
    scored({"id": 1}, "segm")
    raise SystemExit("masks were scored, too")
except KeyError as error:
    print(f"masks of size {one['segmentation']['size']}, the same image: KeyError: {error}")
assert scored({"id": 1, "height": 16, "width": 16}, "segm")
PYTHON
