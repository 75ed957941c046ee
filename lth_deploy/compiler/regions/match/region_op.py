"""What a region can be made of: nodes, or small groups of them, that have an instruction."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.formats import Array
from lth_deploy.kernels.program.values import NONE, Act, Linear, Quantized, Window

Kind = Literal[
    "conv",
    "convtranspose",
    "maxpool",
    "resize",
    "add",
    "act",
    "concat",
    "slice",
    "same",
    "qconv",
    "qconvtranspose",
    "qadd",
    "quantize",
    "requantize",
    "dequantize",
]

ONE_BY_ONE = Window()

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")

HEAVY = ("conv", "convtranspose", "qconv", "qconvtranspose")
"""Kinds with a weight."""

OF_BYTES = ("qconv", "qconvtranspose")
"""Kinds with a weight of 8 bits."""

TRANSPOSED = ("convtranspose", "qconvtranspose")
"""Kinds whose weight is stored as [inputs, outputs, ...]."""


@dataclass(frozen=True)
class RegionOp:
    """One step of a region, before fusion.

    place: index of its last node in the graph. nodes: in graph order. inputs, outputs: activations by name.
    weight, bias, scales: names of stored weights. pieces: for `slice` the channels of each output. linear: of a
    `resize` between pixels. rows: it works on [N, C]. out: for what makes bytes, how they are to be read. borders: of
    a group between bytes, the conversions at its ends as ops of their own, for when the rest of it stays outside.
    """

    kind: Kind
    place: int
    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weight: str | None = None
    bias: str | None = None
    window: Window = ONE_BY_ONE
    groups: int = 1
    act: Act = NONE
    pieces: tuple[tuple[int, int], ...] = ()
    linear: Linear | None = None
    rows: bool = False
    scales: str | None = None
    out: Quantized | None = None
    borders: tuple["RegionOp", ...] = ()

    @property
    def name(self) -> str:
        """The name of its first node that is no conversion, as reports give it."""
        working = [node for node in self.nodes if node.op_type not in CONVERSIONS]
        first = (working or self.nodes)[0]
        return first.name or first.output[0]


def outputs_first(op: RegionOp, weights: Array) -> Array:
    """The weights of a layer as [outputs, inputs, ...]."""
    return weights.swapaxes(0, 1) if op.kind in TRANSPOSED else weights


@dataclass(frozen=True)
class Weights:
    """The stored weights of a model by name, and which of them a caller may replace."""

    stored: dict[str, StoredWeight]
    overridable: frozenset[str]

    def obstacle(self, name: str) -> str | None:
        """Why a tensor cannot be a constant of a region; None when it can."""
        if name not in self.stored:
            return f"'{name}' is computed, not stored"
        weight = self.stored[name]
        if name in self.overridable:
            return f"a caller may replace '{name}': it is an input of the graph"
        if weight.value_type not in (1, 10):
            return f"'{name}' is stored neither as float32 nor as float16"
        if weight.value_type == 10 and weight.node is None:
            return f"'{name}' reaches its layer as float16, which is computed as such"
        return None


@dataclass(frozen=True)
class Uses:
    """How often every tensor is read: by nodes of the main graph, and from elsewhere."""

    nodes: Counter[str]
    elsewhere: frozenset[str]

    def only(self, name: str) -> bool:
        """Whether exactly one node reads the tensor and nobody else."""
        return self.nodes[name] == 1 and name not in self.elsewhere
