"""Random objects, and noisy detections of them."""

import numpy as np

from lth_deploy.detections import Detections

IDS = (2, 5)


def scene(seed: int, images: int = 12, noise: float = 6.0) -> tuple[dict, dict[int, Detections]]:
    """Random objects and noisy detections of them with false alarms; scores often tie between images."""
    generator = np.random.default_rng(seed)
    truth = {
        "images": [{"id": number, "width": 300, "height": 300} for number in range(1, images + 1)],
        "categories": [{"id": number, "name": str(number)} for number in IDS],
        "annotations": [],
    }
    found = {}
    for image in range(1, images + 1):
        count = int(generator.integers(0, 6))
        boxes = np.hstack([generator.uniform(0, 180, (count, 2)), generator.uniform(20, 100, (count, 2))])
        labels = generator.integers(1, 3, count)
        for box, label in zip(boxes, labels, strict=True):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image,
                    "category_id": IDS[label - 1],
                    "bbox": [float(value) for value in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(generator.random() < 0.1),
                }
            )
        corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        corners = np.vstack([corners + generator.normal(0, noise, corners.shape), [[5, 5, 60, 60]]])
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
        scores = generator.choice(np.linspace(0.1, 1, 10, dtype=np.float32), len(corners), replace=False)
        order = np.argsort(-scores, kind="stable")
        found[image] = Detections(
            corners[order].astype(np.float32),
            scores[order],
            np.append(labels, 1)[order].astype(np.int64),
        )
    return truth, found
