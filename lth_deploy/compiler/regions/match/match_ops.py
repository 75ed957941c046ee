"""Which nodes have an instruction, and why the others have none."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from onnx import GraphProto, ModelProto, NodeProto

from lth_deploy.compiler.artifact.weight_layers import CHAIN, PASS_THROUGH
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.regions.analysis.shape_rules import only_interleaves, split_sizes
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo, attribute, clamped, slice_bounds
from lth_deploy.compiler.regions.match import activations
from lth_deploy.compiler.regions.match.no_match import NoMatch, need
from lth_deploy.compiler.regions.match.qdq import DEQUANTIZE, lowest
from lth_deploy.compiler.regions.match.qdq_groups import Bytewise, quantized_layer
from lth_deploy.compiler.regions.match.region_op import CONVERSIONS, Kind, RegionOp, Uses, Weights
from lth_deploy.compiler.regions.match.resize import linear_of
from lth_deploy.kernels.program.limits import MAX_CHANNELS, MAX_DILATION, MAX_KERNEL, MAX_PAD, MAX_STRIDE, QUAD
from lth_deploy.kernels.program.values import Window

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

MIN_GROUP = 8
"""Fewest input channels of a group: depth-wise convolutions gain nothing from zeros."""


def classify(model: ModelProto, shapes: TensorInfo, weights: Weights) -> tuple[list[RegionOp], dict[str, str]]:
    """Units of the main graph in its order, and the reason of every layer that is none, by the name of its weight."""
    graph = model.graph
    uses = uses_of(graph)
    found = _Finder(graph, shapes, weights, uses)
    bytewise = Bytewise(graph, shapes, weights, uses)
    ops: list[RegionOp] = []
    reasons: dict[str, str] = {}
    inside: set[int] = set()
    for place, node in enumerate(graph.node):
        if node.domain not in STANDARD_DOMAINS or place in inside:
            continue
        try:
            op = bytewise.conversion(place, node) if node.op_type in CONVERSIONS else found.op(place, node)
            group = None if op is None else bytewise.group(op)
        except NoMatch as declined:
            if node.op_type in WEIGHTED:
                reasons.setdefault(found.weight(node), str(declined))
            continue
        if group is not None:
            inside.update(found.producers[one.output[0]][0] for one in group.nodes)
        if op is not None:
            ops.append(group or op)
    alone = [op for op in ops if op.kind not in ("quantize", "dequantize") or op.place not in inside]
    return sorted(alone, key=lambda op: op.place), reasons


def uses_of(graph: GraphProto) -> Uses:
    """How often each tensor of the main graph is read, and which are returned or read in inner graphs."""
    nodes = Counter(name for node in graph.node for name in node.input if name)
    elsewhere = {value.name for value in graph.output}
    for inner in list(all_graphs(graph))[1:]:
        elsewhere.update(name for node in inner.node for name in node.input)
        elsewhere.update(value.name for value in inner.output)
    return Uses(nodes, frozenset(elsewhere))


class _Finder:
    """Looks at nodes one after the other; state: what there is to look up."""

    def __init__(self, graph: GraphProto, shapes: TensorInfo, weights: Weights, uses: Uses) -> None:
        self.shapes = shapes
        self.weights = weights
        self.uses = uses
        self.producers = {output: (i, node) for i, node in enumerate(graph.node) for output in node.output}
        self.rules: dict[str, Callable[[int, NodeProto], RegionOp | None]] = {
            "Conv": self._conv,
            "ConvTranspose": self._conv_transpose,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "MaxPool": self._max_pool,
            "Resize": self._resize,
            "Add": self._add,
            "Concat": self._concat,
            "Slice": self._slice,
            "Split": self._split,
            "Identity": self._same,
            "Dropout": self._same,
            "Flatten": self._flatten,
            "Max": self._max,
        }

    def op(self, place: int, node: NodeProto) -> RegionOp | None:
        """The op that ends in a node; None for a node that is inside another op or has no instruction."""
        rule = self.rules.get(node.op_type)
        if rule is not None:
            return rule(place, node)
        act = activations.activation(node, self.shapes, self.producers, self.uses)
        if act is None:
            return None
        rank = self._rank(act.source)
        return RegionOp("act", place, act.nodes, (act.source,), (node.output[0],), act=act.act, rows=rank == 2)

    def weight(self, node: NodeProto) -> str:
        """Name of the stored weight behind a layer's second input, as `layers` names it; else of that input."""
        name = str(node.input[1])
        for _ in range(CHAIN):
            if name in self.weights.stored or name not in self.producers:
                break
            before = self.producers[name][1]
            if before.op_type not in PASS_THROUGH or not before.input:
                break
            name = str(before.input[0])
        return name

    def _rank(self, name: str) -> int:
        shape = self.shapes.of.get(name)
        need(shape is not None and len(shape) in (2, 4), "the rank of its input is not known")
        assert shape is not None
        need(name not in self.weights.stored, "its input is a constant")
        channels = shape[1].known
        need(channels is not None and 1 <= channels <= MAX_CHANNELS, "its number of channels is not known")
        return len(shape)

    def _planes(self, name: str) -> None:
        need(self._rank(name) == 4, "its input has no plane")

    def _constants(self, node: NodeProto) -> tuple[str, str | None]:
        """Names of weight and bias of a layer in floats."""
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        for name in (node.input[1], bias):
            if name is not None:
                obstacle = self.weights.obstacle(name)
                need(obstacle is None, str(obstacle))
        if bias is not None:
            stored = self.weights.stored[bias]
            need(len(stored.shape) == 1 and stored.coding == "dense", f"the bias '{bias}' has no plain form")
        need(self.shapes.of.get(node.input[0]) is not None, "the rank of its input is not known")
        return node.input[1], bias

    def _layer(self, place: int, node: NodeProto) -> RegionOp:
        """A convolution or product with its constants, of floats or of 8 bits."""
        if self._dequantized(node.input[1]):
            return quantized_layer(place, node, self.producers, self.weights)
        weight, bias = self._constants(node)
        kind: Kind = "convtranspose" if node.op_type == "ConvTranspose" else "conv"
        return RegionOp(kind, place, (node,), (node.input[0],), (node.output[0],), weight, bias)

    def _dequantized(self, name: str) -> bool:
        made = self.producers.get(name)
        return made is not None and made[1].op_type == DEQUANTIZE

    def _conv(self, place: int, node: NodeProto) -> RegionOp:
        layer = self._layer(place, node)
        weight = str(layer.weight)
        dims = self.weights.stored[weight].shape
        need(len(dims) == 4, f"a convolution of {len(dims) - 2} dimensions")
        self._planes(node.input[0])
        groups = attribute(node, "group", 1)
        need(groups == 1 or dims[1] >= MIN_GROUP, f"{groups} groups of {dims[1]} channels: too thin for sparse kernels")
        quads = layer.kind == "conv" or groups == 1 or (dims[1] % QUAD == 0 and dims[0] // groups % QUAD == 0)
        need(quads, f"{groups} groups of {dims[1]} channels of bytes: no multiple of {QUAD}")
        window = self._window(node, (dims[2], dims[3]))
        channels = self.shapes.of[node.input[0]][1].known
        need(channels == dims[1] * groups, f"its input has {channels} channels, the weight takes {dims[1] * groups}")
        return replace(layer, window=window, groups=groups)

    def _window(self, node: NodeProto, kernel: tuple[int, int]) -> Window:
        need(attribute(node, "auto_pad", "NOTSET") == "NOTSET", "its padding depends on the size (auto_pad)")
        stride, dilation = (tuple(attribute(node, key, [1, 1])) for key in ("strides", "dilations"))
        pads = tuple(attribute(node, "pads", [0, 0, 0, 0]))
        fits = all(k <= MAX_KERNEL for k in kernel) and all(s <= MAX_STRIDE for s in stride)
        fits = fits and all(d <= MAX_DILATION for d in dilation) and all(0 <= p <= MAX_PAD for p in pads)
        reach = [k * d for k, d in zip(kernel, dilation, strict=True)] * 2
        fits = fits and all(p < r for p, r in zip(pads, reach, strict=True))
        need(fits, f"kernel {kernel}, stride {stride}, dilation {dilation} or pads {pads} are beyond the kernels")
        return Window(kernel, stride, pads, dilation)

    def _conv_transpose(self, place: int, node: NodeProto) -> RegionOp:
        groups = attribute(node, "group", 1)
        need(groups == 1, f"a transposed convolution of {groups} groups")
        layer = self._layer(place, node)
        self._planes(node.input[0])
        dims = self.weights.stored[str(layer.weight)].shape
        plain = len(dims) == 4 and only_interleaves(node, (dims[2], dims[3]))
        need(plain, "a transposed convolution whose stride is not its kernel, or with pads")
        return replace(layer, window=self._window(node, (dims[2], dims[3])))

    def _gemm(self, place: int, node: NodeProto) -> RegionOp:
        need(attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0, "it scales its product")
        plain = attribute(node, "transB", 0) == 1 and attribute(node, "transA", 0) == 0
        need(plain, "its weight is stored as [inputs, outputs]")
        layer = self._layer(place, node)
        weight, bias = str(layer.weight), layer.bias
        need(self._rank(node.input[0]) == 2, "its input is no row of features")
        if bias is not None:
            dims = self.weights.stored[weight].shape
            need(self.weights.stored[bias].shape == (dims[0],), f"the bias '{bias}' does not have one value an output")
        return replace(layer, rows=True)

    def _matmul(self, place: int, node: NodeProto) -> RegionOp | None:
        need(self.weight(node) in self.weights.stored, f"'{node.input[1]}' is computed, not stored")
        raise NoMatch("its weight is stored as [inputs, outputs]")

    def _max_pool(self, place: int, node: NodeProto) -> RegionOp:
        kernel = tuple(attribute(node, "kernel_shape", []))
        need(len(kernel) == 2 and not attribute(node, "ceil_mode", 0), "a pool that rounds up")
        need(len(node.output) == 1, "a pool that returns indices")
        self._planes(node.input[0])
        window = self._window(node, kernel)
        op = RegionOp("maxpool", place, (node,), (node.input[0],), (node.output[0],), window=window)
        before = self.producers.get(node.input[0])
        padding = activations.low_padding(before[1], self.shapes) if before and self.uses.only(node.input[0]) else None
        if before is None or padding is None:
            return op
        top, left, bottom, right = (a + b for a, b in zip(window.pads, padding, strict=True))
        need(
            top < kernel[0] and bottom < kernel[0] and left < kernel[1] and right < kernel[1], "padding past the window"
        )
        source = before[1].input[0]
        self._planes(source)
        padded = replace(window, pads=(top, left, bottom, right))
        return replace(op, nodes=(before[1], node), inputs=(source,), window=padded)

    def _resize(self, place: int, node: NodeProto) -> RegionOp:
        self._planes(node.input[0])
        source, made = self.shapes.of[node.input[0]], self.shapes.of.get(node.output[0])
        need(made is not None and made[:2] == source[:2], "the size that it makes is not known")
        assert made is not None
        linear = linear_of(node, self.shapes)
        return RegionOp("resize", place, (node,), (node.input[0],), (node.output[0],), linear=linear)

    def _add(self, place: int, node: NodeProto) -> RegionOp:
        ranks = [self._rank(name) for name in node.input]
        a, b = (self.shapes.of[name] for name in node.input)
        need(a == b and node.input[0] != node.input[1], "its operands are not known to have one shape")
        return RegionOp("add", place, (node,), tuple(node.input), (node.output[0],), rows=ranks[0] == 2)

    def _concat(self, place: int, node: NodeProto) -> RegionOp:
        if len(node.input) == 1:
            return self._same(place, node)
        ranks = {self._rank(name) for name in node.input}
        first = self.shapes.of[node.input[0]]
        need(len(ranks) == 1 and attribute(node, "axis", 0) in (1, 1 - len(first)), "it does not join channels")
        planes = {(shape[0], *shape[2:]) for shape in (self.shapes.of[name] for name in node.input)}
        need(len(planes) == 1, "its inputs are not known to have one plane")
        return RegionOp("concat", place, (node,), tuple(node.input), (node.output[0],), rows=ranks == {2})

    def _slice(self, place: int, node: NodeProto) -> RegionOp:
        rank = self._rank(node.input[0])
        bounds = slice_bounds(self.shapes, node)
        need(bounds is not None and bounds[0] in (1, 1 - rank), "it does not cut channels")
        assert bounds is not None
        channels = self.shapes.of[node.input[0]][1].known
        assert channels is not None
        start, stop = clamped(bounds[1], bounds[2], channels)
        need(start < stop, "it cuts nothing")
        pieces = ((start, stop),)
        return RegionOp("slice", place, (node,), (node.input[0],), (node.output[0],), pieces=pieces, rows=rank == 2)

    def _split(self, place: int, node: NodeProto) -> RegionOp:
        rank, sizes = self._rank(node.input[0]), split_sizes(self.shapes, node)
        need(attribute(node, "axis", 0) in (1, 1 - rank), "it does not cut channels")
        need(sizes is not None and all(size > 0 for size in sizes), "the sizes of its parts are not known")
        assert sizes is not None
        need(len(sizes) == len(node.output) and all(node.output), "a part of it has no name")
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        pieces = tuple((end - size, end) for end, size in zip(ends, sizes, strict=True))
        return RegionOp("slice", place, (node,), (node.input[0],), tuple(node.output), pieces=pieces, rows=rank == 2)

    def _max(self, place: int, node: NodeProto) -> RegionOp:
        need(lowest(node, self.shapes), "no instruction")
        return self._same(place, node)

    def _flatten(self, place: int, node: NodeProto) -> RegionOp:
        need(self._rank(node.input[0]) == 2 and attribute(node, "axis", 1) in (1, -1), "it changes the rank")
        return self._same(place, node)

    def _same(self, place: int, node: NodeProto) -> RegionOp:
        rank = self._rank(node.input[0])
        need(len(node.output) == 1 or not any(node.output[1:]), "it returns a mask")
        return RegionOp("same", place, (node,), (node.input[0],), (node.output[0],), rows=rank == 2)
