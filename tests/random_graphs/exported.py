"""Exporting a random graph in this process, and comparing what was written with the graph that it was made of."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from lth_deploy.compiler.load import load_model
from lth_deploy.compiler.prune import prune_onnx
from lth_deploy.errors import LthError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.target import CostTable, Rates, Target
from lth_deploy.workflow.export_onnx import OnnxJob, export_onnx
from tests.random_graphs.graph import RandomGraph

TOLERANCE = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1, "float64": 2e-4}
"""Largest difference, relative to the largest value of an output, by the type of the graph's floats."""

GRID_TOLERANCE = 0.1
"""The same where values pass through bytes: two steps of a grid of 0.05, of values around one."""

FAST = Rates(dense=1, sparse=1e6)
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
        made = export_onnx(path, OnnxJob(sparsity=sparsity), target=target, out=folder / "out")
    except LthError as error:
        if is_refusal(error):
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
    return type(error).__name__ in ("UsageError", "ArtifactError", "DataError")


def reference_model(graph: RandomGraph, sparsity: float | None) -> ModelProto:
    """The graph as it is, with pruned weights in the place of its own."""
    model = ModelProto()
    model.CopyFrom(graph.model)
    if sparsity is None:
        return model
    pruned, report = prune_onnx(graph.model, sparsity)
    stored = {tensor.name: tensor for tensor in pruned.graph.initializer if tensor.name in report.pruned}
    own = [
        *model.graph.initializer,
        *(a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute),
    ]
    names = [one.name for one in model.graph.initializer]
    names += [node.output[0] for node in model.graph.node if node.op_type == "Constant" for _ in node.attribute]
    for tensor, name in zip(own, names, strict=True):
        if name in stored:
            kept = numpy_helper.to_array(stored.pop(name)) != 0
            before = numpy_helper.to_array(tensor)
            assert kept.shape == before.shape, f"{name} was pruned in another shape"
            tensor.CopyFrom(numpy_helper.from_array(np.where(kept, before, np.zeros(1, before.dtype)), tensor.name))
    assert not stored, f"pruned, but not in the graph: {sorted(stored)}"
    return model


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
