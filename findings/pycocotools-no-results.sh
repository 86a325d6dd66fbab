#!/usr/bin/env bash
# A detector that finds nothing in any picture writes a COCO results file with an empty list, which is valid. pycocotools
# does not score it as 0: `COCO.loadRes` raises an IndexError before anything is compared. A benchmark has to treat the
# worst detector by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.2.6
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

from pycocotools.coco import COCO

truth = COCO()
box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 8, 8], "area": 64, "iscrowd": 0}
truth.dataset = {"images": [{"id": 1}], "annotations": [box], "categories": [{"id": 1, "name": "thing"}]}
truth.createIndex()
print(f"pycocotools {version('pycocotools')}")
try:
    truth.loadRes([])
    raise SystemExit("an empty list was loaded")
except IndexError as error:
    print(f"loadRes([]): IndexError: {error}")
PYTHON
