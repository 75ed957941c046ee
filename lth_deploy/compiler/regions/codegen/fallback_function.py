"""The function body of a region: the same layers as standard operators, with their weights decoded there."""

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, NodeProto, helper, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.domain import DOMAIN, DOMAIN_VERSION
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.codegen.program_builder import Translation
from lth_deploy.compiler.regions.match.region_op import RegionOp

PROGRAM = "program"
"""The one attribute of a region node."""


def function(
    name: str,
    ops: Sequence[RegionOp],
    translation: Translation,
    info: TensorInfo,
    stored: dict[str, StoredWeight],
    opset: int,
) -> FunctionProto:
    """The body of the operator `name`, in the names of the graph that it was cut out of."""
    decoders = [stored[weight].node for weight in translation.weights]
    body = _Body(ops, translation, info, stored)
    for op in ops:
        body.add(op)
    nodes = [*(node for node in decoders if node is not None), *body.constants.values(), *body.nodes]
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain == DOMAIN for node in nodes):
        opsets.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    inputs = [*translation.activations, *translation.arrays]
    return helper.make_function(DOMAIN, name, inputs, list(translation.outputs), nodes, opsets, [PROGRAM])


class _Body:
    """Collects the nodes of a body, and the small constants that they read."""

    def __init__(
        self, ops: Sequence[RegionOp], translation: Translation, info: TensorInfo, stored: dict[str, StoredWeight]
    ) -> None:
        self.info = info
        self.stored = stored
        self.planes = translation.planes
        self.there = {name for op in ops for node in op.nodes for name in node.output}
        self.there.update([*translation.activations, *translation.weights, ""])
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NodeProto] = {}

    def add(self, op: RegionOp) -> None:
        """The nodes of an operator; a resize to a computed size takes it from a tensor of the region."""
        for node in op.nodes:
            missing = [name for name in node.input if name not in self.there]
            values = {name: self._known(node, name) for name in missing}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(values):
                for name, value in known.items():
                    self._constant(name, value)
                self.nodes.append(node)
            else:
                self.nodes.extend(self._resize(node, self.planes[op.outputs[0]]))

    def _known(self, node: NodeProto, name: str) -> Array | None:
        """The value of a tensor that a node reads: a constant, or one that follows from the shapes."""
        if name in self.info.constants:
            return self.info.constants[name]
        if name in self.stored:
            return self.stored[name].weights()
        values = self.info.values.get(name)
        if values is None or node.op_type == "Resize":
            return None
        numbers = [value.known for value in values]
        # A Reshape copies the first size where it is given 0.
        if node.op_type == "Reshape" and values[0] == self.info.shapes[node.input[0]][0]:
            numbers[0] = 0 if numbers[0] is None else numbers[0]
        return None if None in numbers else np.array(numbers, np.int64)

    def _constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        if name not in self.constants:
            tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            self.constants[name] = helper.make_node("Constant", [], [name], value=tensor)

    def _resize(self, node: NodeProto, like: str) -> list[NodeProto]:
        x, output = node.input[0], node.output[0]
        head, tail, start, middle, end = (f"{output}.{part}" for part in ("nc", "hw", "0", "2", "4"))
        for name, value in ((start, 0), (middle, 2), (end, 4)):
            self._constant(name, np.array([value]))
        resized = NodeProto()
        resized.CopyFrom(node)
        resized.input[:] = [x, "", "", f"{output}.sizes"]
        return [
            helper.make_node("Shape", [x], [f"{head}.shape"]),
            helper.make_node("Slice", [f"{head}.shape", start, middle], [head]),
            helper.make_node("Shape", [like], [f"{tail}.shape"]),
            helper.make_node("Slice", [f"{tail}.shape", middle, end], [tail]),
            helper.make_node("Concat", [head, tail], [f"{output}.sizes"], axis=0),
            resized,
        ]
