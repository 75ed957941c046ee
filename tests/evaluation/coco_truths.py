"""Annotations with objects of every COCO size, and detections that repeat them."""

import numpy as np

from lth_deploy.detections import Detections

CATEGORY_IDS = (3, 90)


def ground_truth(seed: int = 0, images: int = 4, points: int = 3) -> dict:
    """Objects of all COCO sizes on 200x160 images, with masks and keypoints, ids with gaps."""
    generator = np.random.default_rng(seed)
    annotations = []
    for image in range(images):
        for index in range(4):
            side = (12, 50, 110, 30)[index]
            x, y = (float(value) for value in generator.integers(0, 45, 2))
            corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
            annotations.append(
                {
                    "id": len(annotations) + 7,
                    "image_id": image * 5 + 1,
                    "category_id": CATEGORY_IDS[index % 2],
                    "bbox": [x, y, side, side],
                    "area": float(side * side),
                    "iscrowd": 0,
                    "segmentation": [[value for corner in corners for value in corner]],
                    "keypoints": [value for corner in corners[:points] for value in [*corner, 2]],
                    "num_keypoints": points,
                }
            )
    return {
        "images": [{"id": image * 5 + 1, "width": 200, "height": 160} for image in range(images)],
        "categories": [{"id": number, "name": str(number)} for number in CATEGORY_IDS],
        "annotations": annotations,
    }


def perfect(truth: dict, shift: float = 0.0) -> dict[int, Detections]:
    """Detections that repeat the annotations, moved right by `shift` pixels."""
    found = {}
    for image in truth["images"]:
        mine = [row for row in truth["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in mine], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes[:, ::2] += shift
        masks = np.zeros((len(mine), image["height"], image["width"]), np.float32)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = 1
        points = np.array([row["keypoints"] for row in mine], np.float32).reshape(len(mine), -1, 3)
        points[..., 0] += shift
        found[image["id"]] = Detections(
            boxes,
            np.linspace(0.9, 0.5, len(mine), dtype=np.float32),
            np.array([CATEGORY_IDS.index(row["category_id"]) + 1 for row in mine], np.int64),
            masks,
            points,
        )
    return found


def nothing() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
