"""A small sound COCO data set on disk that tests break in one place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 40, 30

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
        {"id": 9, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        {"id": 11, "file_name": "empty.png", "width": WIDTH, "height": HEIGHT},
    ],
    "categories": [
        {
            "id": 3,
            "name": "cell",
            "keypoints": ["top", "left_end", "right_end"],
            "skeleton": [[1, 2], [1, 3]],
        },
        {"id": 90, "name": "dust"},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "bbox": [4, 6, 20, 10],
            "area": 200,
            "iscrowd": 0,
            "segmentation": [[4, 6, 24, 6, 24, 16, 4, 16]],
            "keypoints": [14, 6, 2, 4, 11, 1, 0, 0, 0],
            "num_keypoints": 2,
        },
        {
            "id": 2,
            "image_id": 9,
            "category_id": 90,
            "bbox": [1, 2, 8, 8],
            "area": 64,
            "iscrowd": 0,
            "segmentation": [[1, 2, 9, 2, 9, 10, 1, 10]],
        },
        {
            "id": 5,
            "image_id": 9,
            "category_id": 3,
            "bbox": [0, 0, 40, 15],
            "area": 20,
            "iscrowd": 1,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 20, HEIGHT * WIDTH - 20]},
        },
    ],
}


@dataclass
class CocoFolder:
    """An annotation file and its images; tests change `document` or files, then `write`."""

    root: Path
    document: dict[str, Any]

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def annotations(self) -> Path:
        return self.root / "annotations.json"

    def write(self) -> None:
        self.annotations.write_text(json.dumps(self.document))
