"""What a region can be made of: nodes, or small groups of them, that have an instruction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.element_types import FLOAT32, HALF_TYPES
from lth_deploy.kernels.program.values import NONE, ONE_BY_ONE, Act, Linear, Quantized, Window

QUANTIZE_LINEAR, DEQUANTIZE_LINEAR = CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Kind:
    """The traits of a kind of region operator; each is declared in its file in `ops/`.

    has_weight: it is a layer. quantized: with int8 weights, between quantized tensors. transposed: its weight is stored
    as [inputs, outputs, ...]. begins_region: whether a region may begin with it, as with a layer. ends_region: whether
    a region may end with it, since it is not as cheap outside. keeps_grid: it moves values, and keeps scale and zero
    point. quantized_form: what it is between quantized tensors. residual_form: what it is of a quantized tensor and the
    activation of another one. activated_form: what it is of the activation of a quantized tensor, its first argument,
    whose others are floats. of_argument: its activation is that of an argument, not of the result. fuses: it can take
    in what follows: an activation, and a residual where the addition names it. residual_of: the layers that take in
    this addition. is_activation: the operator before it may take it in. takes_plane: it reads the size of another
    tensor. enlarges: its planes are larger than those that it reads. pays: it is so much faster inside that layers in
    front of it stay in as well. renames: it has no instruction, its output is its input.
    """

    name: str
    has_weight: bool = False
    quantized: bool = False
    transposed: bool = False
    begins_region: bool = False
    ends_region: bool = True
    keeps_grid: bool = False
    quantized_form: "Kind | None" = None
    residual_form: "Kind | None" = None
    activated_form: "Kind | None" = None
    of_argument: bool = False
    fuses: bool = False
    residual_of: tuple["Kind", ...] = ()
    is_activation: bool = False
    takes_plane: bool = False
    enlarges: bool = False
    pays: bool = False
    renames: bool = False


REQUANTIZE = Kind("requantize", is_activation=True)
QUANTIZE = Kind("quantize", quantized_form=REQUANTIZE)
DEQUANTIZE = Kind("dequantize")


@dataclass(frozen=True)
class RegionOp:
    """One step of a region, before fusion.

    place: index of its last node in the graph. nodes: in graph order. inputs, outputs: activations by name.
    weight, bias, scales, channel_values: names of stored weights. pieces: for `slice` the channels of each output.
    linear: of a `resize` that interpolates. epsilon: of a `layernorm`. blocks: of a `spacetodepth` its order and size.
    rows: it works on [N, C]. out: the scale and zero point of a quantized result. conversions: of a group between
    quantized tensors those at its ends as operators of their own, for when the rest of it stays outside.
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
    channel_values: tuple[str | None, ...] = ()
    blocks: tuple[str, int] = ("rows", 1)
    epsilon: float = 0.0
    out: Quantized | None = None
    conversions: tuple["RegionOp", ...] = ()

    @property
    def name(self) -> str:
        """The name of its first node that is no conversion, as reports give it."""
        working = [node for node in self.nodes if node.op_type not in CONVERSIONS]
        first = (working or self.nodes)[0]
        return first.name or first.output[0]


def is_depthwise(op: RegionOp, shape: Sequence[int]) -> bool:
    """Whether each output of a layer reads one channel: zeros of such weights save nothing. shape: of the weight."""
    return op.groups > 1 and shape[1] == 1


def outputs_first(op: RegionOp, weights: Array) -> Array:
    """The weights of a layer as [outputs, inputs, ...]."""
    return weights.swapaxes(0, 1) if op.kind.transposed else weights


@dataclass(frozen=True)
class Weights:
    """The stored weights of a model by name, and which of them a caller may replace."""

    stored: dict[str, StoredWeight]
    overridable: frozenset[str]

    def constant(self, name: str) -> StoredWeight | None:
        """The stored weight of this name, where no caller may replace it."""
        return None if name in self.overridable else self.stored.get(name)

    def obstacle(self, name: str) -> str | None:
        """Why a tensor cannot be a constant of a region; None when it can."""
        if name not in self.stored:
            return f"'{name}' is computed, not stored"
        weight = self.stored[name]
        if name in self.overridable:
            return f"a caller may replace '{name}': it is an input of the graph"
        if weight.value_type not in (FLOAT32.onnx, *HALF_TYPES):
            return f"'{name}' is stored as {weight.type_name}, which no float layer of a region has"
        if weight.value_type in HALF_TYPES and weight.node is None:
            return f"'{name}' reaches its layer as {weight.type_name}, which is computed as such"
        return None


@dataclass(frozen=True)
class Uses:
    """How often every tensor is read: by nodes of the main graph, and from elsewhere."""

    nodes: Counter[str]
    elsewhere: frozenset[str]

    def only(self, name: str) -> bool:
        """Whether exactly one node reads the tensor and nobody else."""
        return self.nodes[name] == 1 and name not in self.elsewhere
