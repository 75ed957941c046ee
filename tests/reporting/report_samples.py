"""A run and a benchmark as they look on disk. The numbers are invented: only the page is tested."""

import json
import math
from pathlib import Path
from typing import Any

CHANNELS = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


def layer_shapes() -> list[tuple[str, str, list[int], int]]:
    """Name, group, shape and output positions of a ResNet-18 RetinaNet at 320x240."""
    found = [("backbone.body.conv1", "backbone", [64, 3, 7, 7], 160 * 120)]
    inputs, positions = 64, 80 * 60
    for stage, outputs in CHANNELS.items():
        for block in (0, 1):
            for conv in (1, 2):
                fan_in = inputs if (block, conv) == (0, 1) else outputs
                name = f"backbone.body.{stage}.{block}.conv{conv}"
                found.append((name, "backbone", [outputs, fan_in, 3, 3], positions))
        inputs, positions = outputs, positions // 4
    for level, width in enumerate((128, 256, 512)):
        found.append((f"backbone.fpn.inner_blocks.{level}.0", "fpn", [64, width, 1, 1], 1200 >> 2 * level))
        found.append((f"backbone.fpn.layer_blocks.{level}.0", "fpn", [64, 64, 3, 3], 1200 >> 2 * level))
    for head in ("classification_head", "regression_head"):
        found += [(f"head.{head}.conv.{i}.0", "dense_head", [64, 64, 3, 3], 1600) for i in range(4)]
    return found


def layers(sparsity: float) -> list[dict[str, Any]]:
    """Layers of one trial with `sparsity` zeros in all: the larger a layer, the more of it is zero."""
    rows: list[dict[str, Any]] = []
    for name, group, shape, positions in layer_shapes():
        elements = math.prod(shape)
        row = {"name": name, "group": group, "shape": shape, "elements": elements, "positions": positions}
        rows.append({**row, "keep": elements**-0.25})
    scale = (1 - sparsity) / share(rows, [row["keep"] for row in rows])
    for row in rows:
        row["zeros"] = int(row["elements"] * max(0.0, 1 - scale * row.pop("keep"))) if sparsity else 0
    return rows


def share(rows: list[dict[str, Any]], parts: list[float], weight: str = "elements") -> float:
    """Mean of `parts`, weighted by elements, or by multiplications when `weight` is 'macs'."""
    weights = [row["elements"] * (row["positions"] if weight == "macs" else 1) for row in rows]
    return sum(w * part for w, part in zip(weights, parts, strict=True)) / sum(weights)


def metrics(ap: float, kinds: tuple[str, ...] = ("bbox",)) -> dict[str, dict[str, float | None]]:
    """AP figures around `ap`; no small objects."""
    return {
        kind: {
            "AP": ap - 0.03 * i,
            "AP50": ap + 0.34,
            "AP75": ap + 0.04,
            "APs": None,
            "APm": ap - 0.05,
            "APl": ap,
        }
        for i, kind in enumerate(kinds)
    }


def trial(kind: str, sparsity: float, val: float, test: float | None, kinds: tuple[str, ...]) -> dict[str, Any]:
    """One record of the summary's trials."""
    rows = layers(sparsity)
    zeros = [row["zeros"] / row["elements"] for row in rows]
    prefix = {"dense": "dense", "ticket": "level"}.get(kind, kind)
    return {
        "name": prefix if kind == "dense" else f"{prefix}_{100 * sparsity:.6g}",
        "kind": kind,
        "sparsity": sparsity,
        "sparsity_prunable": share(rows, zeros),
        "sparsity_all": share(rows, zeros) * 0.988,
        "zero_macs": share(rows, zeros, "macs"),
        "steps": 1640,
        "seconds": 1163.4,
        "hardware": "AMD EPYC 7R13",
        "val": metrics(val, kinds),
        "test": None if test is None else metrics(test, kinds),
        "layers": rows,
        "losses": [[step, 1.9 / (1 + step / 90) + 0.21] for step in range(0, 1640, 8)],
    }


TRIALS = (
    ("dense", 0.0, 0.562, 0.555),
    ("ticket", 0.5, 0.566, 0.558),
    ("ticket", 0.8, 0.559, 0.549),
    ("ticket", 0.9, 0.538, 0.531),
    ("random", 0.8, 0.497, 0.488),
    ("random", 0.9, 0.455, 0.447),
    ("reinit", 0.8, 0.511, 0.503),
    ("reinit", 0.9, 0.470, 0.462),
)


def make_run(kinds: tuple[str, ...] = ("bbox",)) -> dict[str, Any]:
    """A finished run whose 80 % ticket wins."""
    trials = [trial(kind, sparsity, val, test, kinds) for kind, sparsity, val, test in TRIALS]
    return {
        "schema": "lth-run/1",
        "recipe": {
            "name": "bccd_retinanet_r18",
            "detector": {"name": "retinanet", "backbone": "resnet18", "fpn_width": 64},
            "selection": {"tolerance": 0.01, "metric": "bbox"},
        },
        "recipe_digest": "3f" * 32,
        "finished": True,
        "versions": {"python": "3.11.7", "torch": "2.14.0", "torchvision": "0.29.0"},
        "dataset": {"classes": ["RBC", "WBC", "Platelets"], "train": 205, "val": 87, "test": 72},
        "parameters": {"total": 11_927_000, "prunable": 11_800_000},
        "trials": trials,
        "winner": {
            "trial": "level_80",
            "control": "dense",
            "tolerance": 0.01,
            "dense_val_ap": 0.562,
            "val_ap": 0.559,
            "test_ap": 0.549,
            "dense_test_ap": 0.555,
            "interval": [-0.0141, 0.0032],
            "interval_split": "test",
        },
        "notes": [],
    }


def row(name: str, kind: str, engine: str, size: int, p50: float, ap: float | None, threads: int = 1) -> dict[str, Any]:
    """One record of the benchmark's rows."""
    zeros = 0.79 if kind in ("packed", "coo") else 0.0
    ratio = p50 / {1: 46.2, 2: 26.3}[threads]
    return {
        "name": name,
        "path": f"export/{name.replace(' ', '-')}.onnx",
        "sha256": "ab" * 32,
        "kind": kind,
        "engine": engine,
        "engine_version": "1.32.0" if engine == "onnxruntime" else "2026.3",
        "threads": threads,
        "bytes": size,
        "bytes_zstd": int(size * (0.31 if kind == "dense" else 0.9)),
        "bytes_coo": 19_600_000 if zeros else None,
        "entropy_bytes": 5_960_000 if zeros else None,
        "zero_weights": zeros,
        "zero_macs": 0.65 if zeros else 0.0,
        "load_ms": [61.0, 58.2, 66.1],
        "first_ms": p50 * 1.8,
        "latency_ms": {
            "p50": p50,
            "p90": p50 * 1.09,
            "mean": p50 * 1.02,
            "min": p50 * 0.97,
            "n": 240,
            "samples": [],
        },
        "ratio_to_baseline": {"median": ratio, "low": ratio * 0.985, "high": ratio * 1.014},
        "peak_rss_bytes": 214_000_000,
        "ap": None if ap is None else metrics(ap),
        "parts": {"values": size * 7 // 10, "positions": size // 5, "dense": size // 20, "other": size // 50}
        if kind == "packed"
        else None,
        "ap_difference": {"bbox": {"low": -0.012, "high": 0.002, "mean": -0.006}} if zeros else None,
        "notes": [] if ap is not None else ["AP was not measured"],
    }


def make_benchmark() -> dict[str, Any]:
    """Dense, packed, INT8 and COO on two engines and two numbers of threads."""
    rows = []
    for threads, speed in ((1, 1.0), (2, 0.57)):
        for name, kind, engine, size, p50, ap in (
            ("dense", "dense", "onnxruntime", 47_900_000, 46.2, 0.5551),
            ("packed fp16", "packed", "onnxruntime", 6_240_000, 46.0, 0.5489),
            ("packed fp32", "packed", "onnxruntime", 11_200_000, 46.3, 0.5490),
            ("dense int8", "int8", "onnxruntime", 12_400_000, 17.1, 0.5402),
            ("ticket coo", "coo", "onnxruntime", 19_600_000, 46.4, 0.5490),
            ("dense", "dense", "openvino", 47_900_000, 31.8, 0.5550),
        ):
            rows.append(row(name, kind, engine, size, p50 * speed, ap, threads))
    return {
        "schema": "lth-benchmark/1",
        "when": "2026-11-22T14:05:09Z",
        "machine": {
            "cpu": "a CPU",
            "cores": 2,
            "isa": ["avx2", "avx512_vnni"],
            "os": "an OS",
            "memory": 24_000_000_000,
        },
        "versions": {"onnxruntime": "1.32.0", "openvino": "2026.3"},
        "settings": {"time": 20, "images": 72},
        "rows": rows,
    }


def write(path: Path, document: object) -> Path:
    """Write JSON the way a stranger might: with NaN allowed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
