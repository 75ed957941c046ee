"""Grids that fine-tuning with fake quantization has learned, brought to the tensors of the exported graph.

Training names a tensor by its reader or writer: the input or output of the n-th run of a layer. The exporter writes
the runs of a layer as nodes in the same order, each with the layer's weight by name, and so they are found.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.errors import ArtifactError


class Grid(NamedTuple):
    """Scale and zero point of a u8 tensor."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Learned:
    """What training with fake quantization found.

    layers: those that it quantized. grids: layer, `input` or `output`, and number of the run, to scale and zero point;
    the grid of a tensor is named once, whoever else reads it.
    """

    layers: Collection[str]
    grids: Mapping[tuple[str, str, int], tuple[float, int]]


def place_grids(graph: onnx.GraphProto, learned: Learned) -> dict[str, Grid]:
    """The grid of every tensor of `graph` that training had on one.

    Raises:
        ArtifactError: a layer runs less often in the graph than in training.
    """
    readers = _readers(graph)
    missing, runs = dict(learned.grids), Counter[str]()
    grids: dict[str, Grid] = {}
    for node in graph.node:
        layer = layer_of(node)
        if layer not in learned.layers:
            continue
        call, runs[layer] = runs[layer], runs[layer] + 1
        if found := missing.pop((layer, "input", call), None):
            grids[node.input[0]] = Grid(*found)
        if found := missing.pop((layer, "output", call), None):
            grids[_quantized_output(node, Grid(*found), readers)] = Grid(*found)
    if missing:
        layer, side, call = next(iter(missing))
        raise ArtifactError(
            f"the graph has no {side} of run {call} of '{layer}', which was trained with a grid of its own"
        )
    return grids


def layer_of(node: onnx.NodeProto) -> str:
    """The layer whose weight a node multiplies by, as its module is called; empty for other nodes."""
    is_layer = traits_of(node.op_type).float_layer and len(node.input) > 1 and node.input[1].endswith(".weight")
    return node.input[1].removesuffix(".weight") if is_layer else ""


def overrides(grids: Mapping[str, Grid], activation_type: Any) -> dict[str, list[dict[str, Any]]]:
    """`grids` as the option TensorQuantOverrides of ONNX Runtime's quantizer."""
    return {
        name: [
            {
                "quant_type": activation_type,
                "scale": np.array(grid.scale, np.float32),
                "zero_point": np.array(grid.zero, np.uint8),
            }
        ]
        for name, grid in grids.items()
    }


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in all_nodes(graph):
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def _quantized_output(node: onnx.NodeProto, grid: Grid, readers: Mapping[str, list[onnx.NodeProto]]) -> str:
    """The tensor that a layer's grid belongs to: after the activation, unless it has negative values too."""
    name = node.output[0]
    while grid.zero == 0 and len(readers.get(name, [])) == 1 and traits_of(readers[name][0].op_type).clamps:
        name = readers[name][0].output[0]
    return str(name)
