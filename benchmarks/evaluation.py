"""AP of 5,000 generated images with 100 detections each: faster-coco-eval beside pycocotools.

    python -m benchmarks.evaluation --json evaluation.json

The boxes are drawn, 80 classes as in COCO, seven objects an image; no model runs. Times are of one process.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from lth_deploy.detections import Detections
from lth_deploy.evaluation.coco_ap import ENGINES, evaluate_detections
from lth_deploy.measure.machine import describe_machine

CLASSES = 80
OBJECTS = 7
SIZE = (640, 480)


def boxes(generator: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    sides = generator.uniform(8, 240, (count, 2))
    corners = generator.uniform(0, 1, (count, 2)) * (np.array(SIZE) - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def drawn(images: int, detections: int, seed: int = 0) -> tuple[dict[str, Any], dict[int, Detections]]:
    """Ground truth, and detections that hit its objects with boxes that are a little off, among others that miss."""
    generator = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    found: dict[int, Detections] = {}
    for image in range(1, images + 1):
        true, classes = boxes(generator, OBJECTS), generator.integers(1, CLASSES + 1, OBJECTS)
        for (x1, y1, x2, y2), label in zip(true.astype(float), classes, strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            one = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label), "bbox": box}
            annotations.append({**one, "area": box[2] * box[3], "iscrowd": 0})
        chosen = generator.integers(0, OBJECTS, detections)
        near = true[chosen] + generator.normal(0, 12, (detections, 4)).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        hits = generator.random(detections) < 0.3
        labels = np.where(hits, classes[chosen], generator.integers(1, CLASSES + 1, detections))
        scores = (generator.random(detections) * (0.5 + 0.5 * hits)).astype(np.float32)
        found[image] = Detections(near, scores, labels.astype(np.int64))
    truth = {
        "images": [{"id": image, "width": SIZE[0], "height": SIZE[1]} for image in range(1, images + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    truth, found = drawn(arguments.images, arguments.detections)
    ids = [category["id"] for category in truth["categories"]]
    rows, load = {}, os.getloadavg()
    for engine in arguments.engines:
        began, processor = time.perf_counter(), time.process_time()
        metrics = evaluate_detections(truth, found, ids, engine=engine).metrics["bbox"]
        seconds = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor}
        rows[engine] = {**{key: round(value, 2) for key, value in seconds.items()}, "metrics": metrics}
        processor_time = f"{seconds['processor_seconds']:.1f} s of the processor"
        print(f"{engine:18} {seconds['seconds']:8.1f} s, {processor_time}   AP {100 * (metrics['AP'] or 0):.4f}")
    result = {
        "command": "python -m benchmarks.evaluation",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine().model_dump(mode="json"),
        "load_average_before": load,
        "images": arguments.images,
        "detections": arguments.detections,
        "engines": rows,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
