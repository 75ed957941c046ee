"""An analysis as `analyze` writes it. The numbers are invented: only page, plots and tables are tested."""

from typing import Any

from tests.reporting.report_samples import layers

TYPES = ("classification", "localization", "both", "duplicate", "background", "missed")
CLASSES = (("person", 900, 120), ("bicycle", 90, 30), ("toaster", 4, 2))
TRIALS = (("dense", "dense", 0.0), ("level_80", "ticket", 0.8), ("random_80", "random", 0.8))


def figures(trial: str, offset: float, control: bool) -> dict[str, Any]:
    cost = {"count": 7, "ap50_gain": 0.02}
    change = {"value": offset, "low": offset - 0.02, "high": offset + 0.02}
    return {
        "trial": trial,
        "metrics": {"AP": 0.5 + offset, "AP50": 0.8, "AP75": 0.55, "APs": None, "APm": 0.4, "APl": 0.6},
        "classes": [0.6 + offset, 0.4 + offset, 0.1 + offset],
        "classes_at_50": [0.9, 0.8, 0.3],
        "changes": [] if control else [change, change, None],
        "coco_sizes": [None, 0.4, 0.6],
        "relative_sizes": [0.3 + offset, 0.6],
        "errors": {
            "types": dict.fromkeys(TYPES, cost),
            "false_positives": cost,
            "false_negatives": cost,
            "repaired": 1.0,
        },
    }


def kind(name: str = "bbox", trials: tuple[tuple[str, str, float], ...] = TRIALS) -> dict[str, Any]:
    return {
        "kind": name,
        "control": trials[0][0],
        "coco_sizes": [
            {"name": "small", "low": 0, "high": 32, "objects": 0},
            {"name": "medium", "low": 32, "high": 96, "objects": 60},
            {"name": "large", "low": 96, "objects": 92},
        ],
        "relative_sizes": [{"low": 0, "high": 0.2, "objects": 76}, {"low": 0.2, "objects": 76}],
        "trials": [figures(trial, -0.01 * place, place == 0) for place, (trial, _, _) in enumerate(trials)],
    }


def trial(name: str, family: str, sparsity: float) -> dict[str, Any]:
    return {
        "name": name,
        "kind": family,
        "sparsity": sparsity,
        "sparsity_prunable": sparsity,
        "sparsity_all": sparsity,
        "layers": layers(sparsity),
        "losses": [(step, 2 / (1 + step / 50)) for step in range(0, 400, 20)],
    }


def run(name: str = "cells", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "detector": "retinanet, resnet18",
        "split": "test",
        "images": 40,
        "classes": [{"name": name, "train_objects": before, "objects": now} for name, before, now in CLASSES],
        "parameters": {"total": 12_000_000, "prunable": 11_900_000},
        "trials": [trial(*one) for one in TRIALS],
        "kinds": [kind()],
        "storage": [
            {"trial": "dense", "name": "all in fp32", "values": 0, "positions": 0, "dense": 48_000_000},
            {"trial": "level_80", "name": "packed, fp16", "values": 5_000_000, "positions": 900_000, "dense": 40_000},
        ],
        "losses": [
            {"trial": name, "steps": 380, "first": 2.0, "last": 0.3, "parts": {"classification": 0.2}}
            for name, _, _ in TRIALS
        ],
        "notes": [],
        **changes,
    }


def overlap(first: str, second: str, iou: float) -> dict[str, Any]:
    layer = {"elements": 100, "first": 20, "second": 20, "both": 8, "iou": iou, "by_chance": 0.11}
    return {
        "first": first,
        "second": second,
        "iou": iou,
        "by_chance": 0.11,
        "layers": [{"name": row["name"], **layer} for row in layers(0.8)],
        "left_out": [],
    }


def make_analysis(**changes: Any) -> dict[str, Any]:
    pairs = (("level_80", "random_80", 0.11), ("level_80", "level_90", 0.5), ("random_80", "level_90", 0.1))
    return {
        "when": "2026-01-02T03:04:05+00:00",
        "command": ["lth-deploy", "analyze", "cells"],
        "versions": {"python": "3.11"},
        "runs": [run()],
        "overlaps": [overlap(*pair) for pair in pairs],
        "notes": ["Something was left out."],
        **changes,
    }
