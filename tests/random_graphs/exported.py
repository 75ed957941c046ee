"""Exporting a random graph in this process, and comparing what was written with the graph that it was made of."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from onnx import ModelProto

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
from lth_deploy.compiler.one_shot.magnitude import prune_onnx
from lth_deploy.config.cost_table import CostTable, Rates
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError, LthError, ParityError, UsageError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.limits.settings import LIMITS
from tests.random_graphs.graph import RandomGraph

TOLERANCE = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1, "float64": 2e-4}
"""Largest difference, relative to the largest value of an output, by the type of the graph's floats."""

GRID_TOLERANCE = 0.1
"""The same where values pass through bytes: two steps of a grid of 0.05, of values around one."""

FAST = Rates(dense=1, sparse=1e5)
EAGER = CostTable(conv=FAST, pointwise=FAST, stem=FAST, rows=FAST, layout_ns=0)
"""Costs with which every layer that can be in a region is in one."""


def target_of(seed: int) -> Target:
    """A target that varies with the seed: values, format, and whether regions are made wherever they can be."""
    values = ("fp32", "fp32", "fp16")[seed % 3]
    format_ = "dense" if seed % 11 == 10 else "coo" if seed % 11 == 9 else "packed"
    common: dict[str, Any] = {"values": values, "format": format_, "profile": False}
    if seed % 4 == 3:
        return Target(**common)
    return Target(**common, costs=EAGER, region_zeros=0, region_quads=0)


def differences(graph: RandomGraph, folder: Path, *, sparsity: float | None = None) -> list[str]:
    """What is wrong with the export of a graph, in words; empty where it is right or refused by an error of ours.

    Raises:
        Exception: whatever an error of ours should have been.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"random{graph.seed}.onnx"
    onnx.save(graph.model, path)
    target = target_of(graph.seed)
    try:
        shapes = {name: value.shape for name, value in graph.feeds.items()} if graph.seed % 3 else {}
        # Sending each of hundreds of small graphs to a child takes longer than exporting it.
        with patch.dict(os.environ, {LIMITS: "off"}):
            made = export_onnx(path, OnnxJob(sparsity=sparsity, shapes=shapes), target=target, out=folder / "out")
    except LthError as error:
        # Where a runtime rounds to bytes, one may round in another direction: the gate is right to ask.
        if is_refusal(error) or (graph.quantized and type(error) is ParityError):
            return []
        return [f"{type(error).__name__}: {error}"]
    wanted = graph.run(reference_model(graph, sparsity))
    wrong = []
    for name in ("onnxruntime", "lth_deploy"):
        found = RUNTIMES.get(name).load(made.artifact, threads=1).run(graph.feeds)
        wrong += [f"{name}: {text}" for text in compared(wanted, found, graph, rounded=target.values == "fp16")]
    load_model(made.artifact)
    return wrong


def is_refusal(error: LthError) -> bool:
    """Whether an error says that a graph cannot be handled, in words that were foreseen."""
    return type(error) in (UsageError, ArtifactError) and "cannot load" not in str(error)


def reference_model(graph: RandomGraph, sparsity: float | None) -> ModelProto:
    """The graph as it is, with pruned weights in the place of its own."""
    if sparsity is None:
        return graph.model
    imported = import_model(graph.model)
    pruned, report = prune_onnx(imported.normalized, sparsity)
    assert report.pruned
    return original_with_weights(imported, changed_weights(imported, pruned))


def compared(wanted: dict[str, Any], found: dict[str, Any], graph: RandomGraph, *, rounded: bool) -> list[str]:
    """Outputs that differ by more than rounding can explain."""
    tolerance = GRID_TOLERANCE if graph.quantized else TOLERANCE["float16" if rounded else graph.dtype]
    wrong = []
    for name, value in wanted.items():
        other = found[name]
        if other.shape != value.shape or other.dtype != value.dtype:
            wrong.append(f"{name}: {other.dtype} {other.shape} instead of {value.dtype} {value.shape}")
            continue
        a, b = value.astype(np.float64), other.astype(np.float64)
        worst = float(np.abs(a - b).max(initial=0)) / max(1e-2, float(np.abs(a).max(initial=0)))
        if not worst <= tolerance:
            wrong.append(f"{name}: differs by {worst:.3g} of its size")
    return wrong
