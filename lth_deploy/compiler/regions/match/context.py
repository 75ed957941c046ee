"""What the rules of operators look at: a graph with all that is known of its tensors, weights and uses."""

from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from lth_deploy.compiler.artifact.weight_layers import CHAIN
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo, channel_axis
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE_LINEAR, Uses, Weights
from lth_deploy.kernels.program.limits import MAX_CHANNELS, MAX_DILATION, MAX_KERNEL, MAX_PAD, MAX_STRIDE
from lth_deploy.kernels.program.values import Pads, Window

Producers = dict[str, tuple[int, NodeProto]]
"""For each tensor the place of the node that makes it, and the node."""


class MatchContext:
    """A graph; nothing of it changes."""

    def __init__(self, graph: GraphProto, info: TensorInfo, weights: Weights, uses: Uses) -> None:
        self.info = info
        self.weights = weights
        self.uses = uses
        self.producers: Producers = {
            output: (place, node) for place, node in enumerate(graph.node) for output in node.output
        }
        self.readers: dict[str, list[tuple[int, NodeProto]]] = {}
        for place, node in enumerate(graph.node):
            for name in node.input:
                self.readers.setdefault(name, []).append((place, node))

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes a tensor."""
        found = self.producers.get(name)
        return None if found is None else found[1]

    def read_only_by(self, name: str, nodes: Sequence[NodeProto]) -> bool:
        """Whether some nodes of the main graph read a tensor, and nobody else."""
        outputs = {node.output[0] for node in nodes}
        readers = self.readers.get(name, [])
        return name not in self.uses.elsewhere and all(node.output[0] in outputs for _, node in readers)

    def weight_name(self, node: NodeProto) -> str:
        """Name of the stored weight behind a layer's second input, as `weight_layers` names it; else of that input."""
        name = str(node.input[1])
        for _ in range(CHAIN):
            if name in self.weights.stored or name not in self.producers:
                break
            before = self.producers[name][1]
            if not traits_of(before.op_type).leads_to_weight or not before.input:
                break
            name = str(before.input[0])
        return name

    def shape(self, name: str) -> Shape:
        """The shape of an activation of rank 2 or 4 whose channels are known.

        Raises:
            NoMatch: it is not known, or a constant.
        """
        return self._shape(name, (2, 4))

    def features(self, name: str) -> Shape:
        """As `shape`, or that of tokens, [N, T, C]."""
        return self._shape(name, (2, 3, 4))

    def is_rows(self, name: str) -> bool:
        """Whether an activation is rows of features, [N, C] or [N, T, C]; raises as `features`."""
        return len(self.features(name)) < 4

    def _shape(self, name: str, ranks: Sequence[int]) -> Shape:
        shape = self.info.shapes.get(name)
        shape = require(shape if shape and len(shape) in ranks else None, "the rank of its input is not known")
        require(name not in self.weights.stored, "its input is a constant")
        channels = shape[channel_axis(shape)].known
        require(channels is not None and 1 <= channels <= MAX_CHANNELS, "its number of channels is not known")
        return shape

    def rank(self, name: str) -> int:
        """2 or 4; raises as `shape`."""
        return len(self.shape(name))

    def require_plane(self, name: str) -> None:
        """Raises NoMatch unless an activation is [N, C, H, W]."""
        require(self.rank(name) == 4, "its input has no plane")

    def is_dequantized(self, name: str) -> bool:
        """Whether a DequantizeLinear makes a tensor."""
        node = self.producer(name)
        return node is not None and node.op_type == DEQUANTIZE_LINEAR

    def float_constants(self, node: NodeProto) -> tuple[str, str | None]:
        """Names of weight and bias of a layer in floats.

        Raises:
            NoMatch: one is not stored as a region needs it.
        """
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        for name in (node.input[1], bias):
            if name is not None:
                obstacle = self.weights.obstacle(name)
                require(obstacle is None, str(obstacle))
        if bias is not None:
            stored = self.weights.stored[bias]
            require(len(stored.shape) == 1 and stored.coding == "dense", f"the bias '{bias}' has no plain form")
        require(self.info.shapes.get(node.input[0]), "the rank of its input is not known")
        return node.input[1], bias


def window_of(node: NodeProto, kernel: tuple[int, int], pads: Pads | None = None) -> Window:
    """The window of a layer or pool with this kernel. pads: instead of those of its attribute.

    Raises:
        NoMatch: its padding is not known, or it is beyond the limits of the kernels.
    """
    require(
        pads is not None or attribute(node, "auto_pad", "NOTSET") == "NOTSET",
        "its padding depends on the size (auto_pad)",
    )
    stride, dilation = (tuple(attribute(node, key, [1, 1])) for key in ("strides", "dilations"))
    pads = pads or tuple(attribute(node, "pads", [0, 0, 0, 0]))
    fits = all(k <= MAX_KERNEL for k in kernel) and all(s <= MAX_STRIDE for s in stride)
    fits = fits and all(d <= MAX_DILATION for d in dilation) and all(0 <= p <= MAX_PAD for p in pads)
    reach = [k * d for k, d in zip(kernel, dilation, strict=True)] * 2
    fits = fits and all(p < r for p, r in zip(pads, reach, strict=True))
    require(fits, f"kernel {kernel}, stride {stride}, dilation {dilation} or pads {pads} are beyond the kernels")
    return Window(kernel, stride, pads, dilation)
