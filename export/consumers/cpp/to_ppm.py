"""The images of a COCO data set as PPM files, with the list that lth_consumer reads. Needs pillow.

python to_ppm.py annotations.json images/ ppm/

Pixels are written upright, as EXIF orientation says and as lth_deploy trains and evaluates.
"""

import json
import sys
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps


def main() -> None:
    annotations, images, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for record in json.loads(annotations.read_text(encoding="utf-8-sig"))["images"]:
        number, name = int(record["id"]), record["file_name"]
        with Image.open(_inside(images, name), formats=["JPEG", "PNG", "BMP", "WEBP"]) as image:
            pixels = ImageOps.exif_transpose(image).convert("RGB")
        if pixels.size != (int(record["width"]), int(record["height"])):
            sys.exit(f"{name}: the image is {pixels.size} pixels; its annotations say another size")
        pixels.save(out / f"{number}.ppm")
        lines.append(f"{number} {number}.ppm\n")
    (out / "list.txt").write_text("".join(lines))


def _inside(images: Path, name: str) -> Path:
    """The file in the folder; a name out of an annotation file must not lead elsewhere."""
    path = images / PurePosixPath(name.replace("\\", "/"))
    if not path.resolve().is_relative_to(images.resolve()):
        sys.exit(f"{name}: the name leads out of the image folder")
    return path


if __name__ == "__main__":
    main()
