"""The pictures of a COCO data set as PPM files, with the list that lth_consumer reads. Needs pillow.

python to_ppm.py annotations.json images/ ppm/
"""

import json
import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    annotations, images, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for record in json.loads(annotations.read_text(encoding="utf-8"))["images"]:
        Image.open(images / record["file_name"]).convert("RGB").save(out / f"{record['id']}.ppm")
        lines.append(f"{record['id']} {record['id']}.ppm\n")
    (out / "list.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
