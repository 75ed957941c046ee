"""The packing pass: every sparse weight becomes one node of our domain with a decoding function body."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.decode_functions import body
from lth_deploy.compiler.artifact.domain import DOMAIN, DOMAIN_VERSION, operator_of
from lth_deploy.compiler.artifact.half_weights import exact_half, speaks_half
from lth_deploy.compiler.artifact.packed_weight import tensor_bytes
from lth_deploy.compiler.artifact.value_types import ValueType, rounded, values_of
from lth_deploy.compiler.artifact.weight_layers import WeightLayer, weight_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel, without_initializers
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.model.traverse import unused_name, used_names
from lth_deploy.element_types import BFLOAT16, FLOAT16, short_name
from lth_deploy.formats import FORMATS, LOAD_ZEROS, Preference, entropy_bound, sizes
from lth_deploy.formats.base import BF16

DENSE_FILE = "the file is to hold no packed weights"
"""Reason of every layer when packing is off."""

_HALVES = {np.dtype(np.float16): FLOAT16.short, BF16: BFLOAT16.short}

Protos = tuple[list[TensorProto], NodeProto | None]


@dataclass(frozen=True)
class LayerReport:
    """What became of one weight layer.

    zeros: counted after rounding to the stored type. bytes: of the stored arrays. dense_bytes: of the tensor
    in the type of the model. entropy_bytes: entropy of the positions (of blocks where those are stored) plus the
    raw stored values.
    reason: why the layer is not packed; None when it is. region: the operator that computes it with the kernel
    library, or None; dense_because: why there is none. sparse_ms, dense_ms: predicted for one inference on one
    thread; None where nobody counted multiplications.
    """

    name: str
    op_type: str
    shape: tuple[int, ...]
    elements: int
    zeros: int
    uses: int
    coding: str
    value_type: str
    bytes: int
    dense_bytes: int
    entropy_bytes: float
    reason: str | None
    region: str | None = None
    dense_because: str | None = None
    sparse_ms: float | None = None
    dense_ms: float | None = None


@dataclass(frozen=True)
class _Plan:
    """A layer, its weights rounded as asked for, and what each coding of them costs.

    widened: whether `dense` stores the rounded weights as float32. sizes: bytes of the arrays.
    offers: bytes of the file, names and nodes included.
    """

    layer: WeightLayer
    weights: Array
    widened: bool
    sizes: dict[str, int]
    offers: dict[str, int]

    @property
    def int8(self) -> bool:
        """Whether the weights are quantized."""
        return bool(self.weights.dtype == np.int8)

    def stored(self, coding: str) -> Array:
        """The weights in the type that they have in the file under a coding."""
        return self.weights.astype(np.float32) if coding == "dense" and self.widened else self.weights

    def best(self, codings: Collection[str]) -> str:
        """The cheapest of `codings` and of storing the layer in full."""
        allowed = (name for name in self.offers if name == "dense" or name in codings)
        return min(allowed, key=lambda name: self.offers[name])


def pack(
    model: NormalizedModel, *, values: ValueType = "fp32", prefer: Preference = "size", sparse: bool = True
) -> tuple[ModelProto, list[LayerReport]]:
    """Pack the weights of a model.

    The result computes bit for bit what `round_values(model, values)` computes, in any ONNX Runtime from 1.17
    on. A layer that no coding makes smaller is stored in full, and a coding whose function body would cost
    more than it saves is not used: packing never makes a file larger. With `sparse` off every layer is stored
    in full, in half precision where `values` says so: a file for runtimes that take no functions. In a model of half
    precision, weights that float16 holds exactly are stored so, whatever `values` says.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    layers = weight_layers(model.proto)
    opset = standard_opset(model.proto)
    exact = speaks_half(model.proto)
    plans = {layer.name: _plan(layer, values, prefer, exact) for layer in layers if layer.obstacle is None}
    worth = {
        int8: _codings_worth_a_body([p for p in plans.values() if p.int8 == int8], opset) for int8 in (False, True)
    }
    names = used_names(model.proto)
    replacements: dict[str, Protos] = {}
    reports = []
    for layer in layers:
        plan = plans.get(layer.name)
        coding = plan.best(worth[plan.int8]) if plan and sparse else "dense"
        if plan:
            replacements[layer.name] = _protos(layer, coding, plan.stored(coding), names)
        report = _report(layer, coding, plan, prefer)
        reports.append(report if sparse or layer.obstacle else replace(report, reason=DENSE_FILE))
    packed = _replaced(model, replacements)
    used = {(report.coding, report.value_type == "int8") for report in reports if report.coding != "dense"}
    _add_functions(packed, used, opset)
    return packed, reports


def _plan(layer: WeightLayer, values: ValueType, prefer: Preference, exact: bool) -> _Plan:
    """exact: store as float16 what that does not change."""
    weights = rounded(layer.stored.weights(), values_of(layer, values))
    if exact and weights.dtype == np.float32:
        half = exact_half(weights)
        weights = weights if half is None else half
    arrays = sizes(weights, prefer)
    offers = {}
    for coding, size in arrays.items():
        block = FORMATS.get(coding).block
        empty = (block.outputs, block.inputs, *(1,) * len(layer.shape))[: len(layer.shape)]
        tensors, node = _protos(layer, coding, np.zeros(empty, weights.dtype), set())
        frame = (node.ByteSize() if node else 0) + sum(t.ByteSize() - tensor_bytes(t) for t in tensors)
        offers[coding] = size + frame
    full = 4 * layer.elements + len(layer.name)
    # In a tiny tensor the Cast that widens fp16 costs more than the fp16 saves; bf16 says how a layer is multiplied.
    widened = weights.dtype == np.float16 and offers["dense"] > full
    if widened:
        offers["dense"], arrays["dense"] = full, 4 * layer.elements
    return _Plan(layer, weights, widened, arrays, offers)


def _codings_worth_a_body(plans: Sequence[_Plan], opset: int) -> frozenset[str]:
    """Codings for a small file of layers of one type: of the layers' arrays and one function body for each coding.

    Found step by step, adding, dropping or exchanging one coding as long as the file shrinks.
    """
    offered = [name for name in FORMATS if name != "dense" and any(name in plan.offers for plan in plans)]
    bodies = {name: _body_bytes(name, opset, int8=plans[0].int8) for name in offered}

    @cache
    def file_bytes(codings: frozenset[str]) -> int:
        layers = sum(plan.offers[plan.best(codings)] for plan in plans)
        return layers + sum(bodies[name] for name in codings)

    chosen: frozenset[str] = frozenset()
    while True:
        toggled = [chosen ^ {name} for name in offered]
        exchanged = [chosen - {old} | {new} for old in chosen for new in offered if new not in chosen]
        best = min([chosen, *toggled, *exchanged], key=file_bytes)
        if best == chosen:
            return chosen
        chosen = best


@cache
def _body_bytes(coding: str, opset: int, *, int8: bool) -> int:
    """What one function body costs in a file. Building the bodies of all codings takes as long as a small export."""
    return int(body(coding, opset, int8=int8).ByteSize())


def _protos(layer: WeightLayer, coding: str, weights: Array, names: set[str]) -> Protos:
    """The initializers and the node that stand for a weight; fresh names are added to `names`."""
    name = layer.name
    if coding == "dense" and weights.dtype not in _HALVES:
        return [numpy_helper.from_array(np.ascontiguousarray(weights), name)], None
    if coding == "dense":
        half = numpy_helper.from_array(
            np.ascontiguousarray(weights), unused_name(f"{name}.{_HALVES[weights.dtype]}", names)
        )
        widen = helper.make_node("Cast", [half.name], [name], name=f"widen:{name}", to=TensorProto.FLOAT)
        return [half], widen
    arrays = FORMATS.get(coding).encode(weights)
    tensors = [numpy_helper.from_array(array, unused_name(f"{name}.{key}", names)) for key, array in arrays.items()]
    node = helper.make_node(
        operator_of(coding, weights.dtype == np.int8),
        [tensor.name for tensor in tensors],
        [name],
        name=f"unpack:{name}",
        domain=DOMAIN,
        shape=list(layer.shape),
    )
    return tensors, node


def _replaced(model: NormalizedModel, replacements: dict[str, Protos]) -> ModelProto:
    """A copy with the new initializers where the weights were, and the decoding nodes before all others."""
    packed = without_initializers(model.proto)
    del packed.graph.node[:]
    for tensor in model.proto.graph.initializer:
        tensors, node = replacements.get(tensor.name, ([tensor], None))
        packed.graph.initializer.extend(tensors)
        packed.graph.node.extend([node] if node else [])
    packed.graph.node.extend(model.proto.graph.node)
    return packed


def _add_functions(model: ModelProto, codings: set[tuple[str, bool]], opset: int) -> None:
    if not codings:
        return
    both = ((coding, int8) for coding in FORMATS for int8 in (False, True))
    model.functions.extend(body(coding, opset, int8=int8) for coding, int8 in both if (coding, int8) in codings)
    model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))


def _report(layer: WeightLayer, coding: str, plan: _Plan | None, prefer: Preference) -> LayerReport:
    weights = plan.stored(coding) if plan else layer.stored.weights()
    nonzeros = int(np.count_nonzero(weights))
    size = plan.sizes[coding] if plan else layer.stored.nbytes
    share = 1.0 - nonzeros / weights.size if weights.size else 0.0
    reason = layer.obstacle
    if plan and coding == "dense":
        reason = f"{share:.1%} zeros: no coding is smaller"
        if prefer == "load" and 0 < share < LOAD_ZEROS:
            reason = f"{share:.1%} zeros: below {LOAD_ZEROS:.0%} decoding would slow the load"
    return LayerReport(
        name=layer.name,
        op_type=layer.op_type,
        shape=layer.shape,
        elements=layer.elements,
        zeros=weights.size - nonzeros,
        uses=layer.uses,
        coding=coding,
        value_type=short_name(str(weights.dtype)),
        bytes=size,
        dense_bytes=layer.stored.nbytes,
        entropy_bytes=entropy_bound(weights, block=FORMATS.get(coding).block),
        reason=reason,
    )
