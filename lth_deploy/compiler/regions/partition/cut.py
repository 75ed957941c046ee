"""What a region has to return: the tensors that others read, but for those of which they read the shape alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.traverse import read_by
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.match.region_op import RegionOp


@dataclass(frozen=True)
class Cut:
    """A region cut out of its graph; inputs and outputs are activations.

    shape_only: tensors of which others read the shape alone, each with an input or output that has the same plane.
    """

    ops: tuple[RegionOp, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape_only: dict[str, str]


def cut(
    graph: GraphProto, regions: Sequence[Sequence[RegionOp]], info: TensorInfo
) -> tuple[list[Cut], list[NodeProto]]:
    """The regions with what they return, and the nodes that stay outside and are needed, in graph order."""
    inside = {node.output[0] for region in regions for op in region for node in op.nodes}
    outside = [node for node in graph.node if not (node.output and node.output[0] in inside)]
    inputs = [_inputs(region) for region in regions]
    live = _live(graph, outside, regions, inputs)
    kept = [node for node in outside if any(name in live for name in node.output)]
    returned = {value.name for value in graph.output} | {name for names in inputs for name in names}
    readers: dict[str, list[NodeProto]] = {}
    for node in kept:
        for name in read_by(node):
            readers.setdefault(name, []).append(node)
    cuts = []
    for region, names in zip(regions, inputs, strict=True):
        written = [name for op in region for name in op.outputs]
        shape_only = [
            name for name in written if name not in returned and readers.get(name) and _only_shapes(readers[name])
        ]
        outputs = [name for name in written if name in returned or (readers.get(name) and name not in shape_only)]
        same_planes: dict[str, str] = {}
        for name in shape_only:
            same_plane = _same_plane(name, [*outputs, *names], info)
            if same_plane is None:
                outputs.append(name)
            else:
                same_planes[name] = same_plane
        needed = _needed(region, outputs)
        cuts.append(Cut(tuple(needed), _inputs(needed), tuple(outputs), same_planes))
    return cuts, kept


def _inputs(region: Sequence[RegionOp]) -> tuple[str, ...]:
    written = {name for op in region for name in op.outputs}
    return tuple(dict.fromkeys(name for op in region for name in op.inputs if name not in written))


def _live(
    graph: GraphProto,
    outside: Sequence[NodeProto],
    regions: Sequence[Sequence[RegionOp]],
    inputs: Sequence[Iterable[str]],
) -> set[str]:
    """Tensors that something needs; the sizes that resizes were given need not be among them any more."""
    reads: dict[str, Iterable[str]] = {}
    for node in outside:
        names = read_by(node)
        reads.update((output, names) for output in node.output)
    for region, names_in in zip(regions, inputs, strict=True):
        reads.update((output, names_in) for op in region for output in op.outputs)
    live: set[str] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        name = waiting.pop()
        if name not in live:
            live.add(name)
            waiting.extend(reads.get(name, ()))
    return live


def _needed(region: Sequence[RegionOp], outputs: Sequence[str]) -> list[RegionOp]:
    wanted, kept = set(outputs), []
    for op in reversed(region):
        if wanted & set(op.outputs):
            wanted.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def _only_shapes(readers: Sequence[NodeProto]) -> bool:
    return all(node.op_type == "Shape" and node.domain in STANDARD_DOMAINS and not node.attribute for node in readers)


def _same_plane(name: str, candidates: Sequence[str], info: TensorInfo) -> str | None:
    wanted = info.simplest(info.shapes[name])
    shapes = ((other, info.simplest(info.shapes[other])) for other in candidates)
    planes = ((other, shape) for other, shape in shapes if len(shape) == len(wanted) == 4)
    return next((other for other, shape in planes if (shape[0], *shape[2:]) == (wanted[0], *wanted[2:])), None)


def shape_nodes(name: str, same_plane: str, node: NodeProto, info: TensorInfo) -> list[NodeProto]:
    """Nodes that stand for `node`, the Shape of `name`: the shape of `same_plane` with another number of channels."""
    output = node.output[0]
    channels = info.shapes[name][1].known
    parts = [f"{output}.{part}" for part in ("all", "0", "1", "2", "4", "n", "c", "hw")]
    whole, zero, one, two, four, batch, count, plane = parts
    constants = {zero: 0, one: 1, two: 2, four: 4, count: channels}
    return [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([value], np.int64), name))
            for name, value in constants.items()
        ),
        helper.make_node("Shape", [same_plane], [whole]),
        helper.make_node("Slice", [whole, zero, one], [batch]),
        helper.make_node("Slice", [whole, two, four], [plane]),
        helper.make_node("Concat", [batch, count, plane], [output], axis=0),
    ]
