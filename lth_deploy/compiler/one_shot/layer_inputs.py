"""What reaches the layers of an ONNX model on calibration images, as the moments that reconstruction works on."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.artifact.weight_layers import WeightLayer
from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.progress import progress
from lth_deploy.reconstruction.columns import Geometry, columns
from lth_deploy.reconstruction.moments import Moments

log = logging.getLogger(__name__)

MOST_SAMPLES = 4096
"""Samples of a layer, spread evenly over images, and over the positions of each at random."""

_AT_ONCE = 2048


@dataclass(frozen=True)
class SeenLayer:
    """A layer whose inputs can be collected: its weight in full, and the input and form of each node that uses it.

    bias: name of the initializer that all of them add and nobody else reads; None where there is none.
    """

    name: str
    weights: Array
    uses: tuple[tuple[str, Geometry], ...]
    bias: str | None

    @property
    def geometry(self) -> Geometry:
        """Of the first use: in what follows from the shape of the weight, all are alike."""
        return self.uses[0][1]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Taps along each spatial axis."""
        return tuple(self.weights.shape[2:])

    def apply(self, rows: Array) -> Array:
        """Weights in the layer's own shape, float32, from rows that may end with the bias."""
        free = rows.shape[-1] - (self.bias is not None)
        return self.geometry.weights(rows[..., :free], self.weights.shape).astype(np.float32)


def seen_layers(model: ModelProto, layers: Sequence[WeightLayer]) -> tuple[list[SeenLayer], dict[str, str]]:
    """Those of the layers of a prepared model whose inputs can be collected, and why the others' cannot."""
    nodes: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if len(node.input) > 1:
            nodes.setdefault(node.input[1], []).append(node)
    readers: dict[str, list[NodeProto]] = {}
    for node in all_nodes(model.graph):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    seen, left = [], {}
    for layer in layers:
        users = nodes.get(layer.name, [])
        forms = [_geometry(node, layer.shape) for node in users]
        uses = [(node.input[0], form) for node, form in zip(users, forms, strict=True) if form is not None]
        if len(users) != layer.uses or len(users) != len(readers[layer.name]):
            left[layer.name] = "it reaches its layer through other operators, or inside a branch or loop"
        elif len(uses) < len(users) or len({(form.kind, form.group) for _, form in uses}) > 1:
            left[layer.name] = f"its {layer.op_type} has a form that is not reconstructed"
        else:
            bias = _bias(users, readers, tensors, layer.shape, uses[0][1])
            seen.append(SeenLayer(layer.name, layer.stored.weights(), tuple(uses), bias))
    return seen, left


def collect(model: ModelProto, layers: Sequence[SeenLayer], feeds: Sequence[Feeds]) -> Iterator[tuple[str, Moments]]:
    """Moments of the inputs of each layer, in order.

    Raises:
        ArtifactError: the model does not run on the feeds.
        DataError: what reaches a layer is not finite, or nothing does.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sums = [_Sums(layer, tensors, len(feeds)) for layer in layers]
    names = list(dict.fromkeys(name for layer in layers for name, _ in layer.uses))
    running = session(with_outputs(model, names))
    with progress("inputs of the layers", total=len(feeds)) as step:
        for number, feed in enumerate(feeds):
            found = run(running, names, feed)
            for one in sums:
                one.add(found, number)
            step()
    while sums:
        one = sums.pop(0)
        yield one.name, one.moments()


class _Sums:
    """The moments of one layer in the making: samples wait until there are enough for one large product."""

    def __init__(self, layer: SeenLayer, tensors: Mapping[str, onnx.TensorProto], images: int) -> None:
        bias = None if layer.bias is None else numpy_helper.to_array(tensors[layer.bias])
        self.name = layer.name
        self._layer = layer
        self._moments = Moments(layer.geometry.rows(layer.weights), bias)
        self._most = max(1, MOST_SAMPLES // (images * len(layer.uses)))
        self._waiting: list[Array] = []

    def add(self, values: Mapping[str, Array], seed: int) -> None:
        """Take samples of one image."""
        for name, geometry in self._layer.uses:
            self._waiting.append(columns(values[name], geometry, self._layer.kernel, self._most, seed))
        if sum(one.shape[1] for one in self._waiting) >= _AT_ONCE:
            self._flush()

    def moments(self) -> Moments:
        """The sums over all samples; see `collect`."""
        self._flush()
        self._moments.check(self.name)
        return self._moments

    def _flush(self) -> None:
        if self._waiting:
            self._moments.add(np.concatenate(self._waiting, axis=1))
            self._waiting.clear()


def _geometry(node: NodeProto, shape: tuple[int, ...]) -> Geometry | None:
    given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "MatMul" and len(shape) == 2:
        return Geometry("matmul")
    if node.op_type == "Gemm" and not given.get("transA", 0) and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1:
        return Geometry("linear" if given.get("transB", 0) else "matmul")
    if node.op_type not in ("Conv", "ConvTranspose") or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    if "output_shape" in given:
        return None
    axes = len(shape) - 2
    ones = (1,) * axes
    return Geometry(
        "conv" if node.op_type == "Conv" else "transposed",
        tuple(given.get("strides", ones)),
        tuple(given.get("pads", (0,) * 2 * axes)),
        tuple(given.get("dilations", ones)),
        tuple(given.get("output_padding", (0,) * axes)),
        int(given.get("group", 1)),
    )


def _bias(
    nodes: Sequence[NodeProto],
    readers: Mapping[str, Sequence[NodeProto]],
    tensors: Mapping[str, onnx.TensorProto],
    shape: tuple[int, ...],
    geometry: Geometry,
) -> str | None:
    """The initializer that all `nodes` add, and nobody else reads; one number an output."""
    names = {node.input[2] if len(node.input) > 2 else "" for node in nodes}
    name = names.pop()
    outputs = shape[0] if geometry.kind in ("conv", "linear") else shape[1] * geometry.group
    tensor = tensors.get(name)
    no_other_reader = not names and tensor is not None and len(readers[name]) == len(nodes)
    fits = tensor is not None and tuple(tensor.dims) == (outputs,) and tensor.data_type == onnx.TensorProto.FLOAT
    return name if no_other_reader and fits else None
