"""Bilinear samples of images that exporters gather corner by corner, as GridSample.

Some deformable attention (libreyolo's D-FINE and DEIM) writes `grid_sample` as some seventy nodes: four GatherElements
of the corners of each place, their weights, and masks of what lies outside. Which nodes these are is read off the
dataflow: all between the four gathers' image, the places and the sum. What they compute is tried out: on random images,
with places inside, at the rims and outside, they must give what GridSample gives.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.importing.plain.inferred import Inferred, infer
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS, standard_opset
from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.compiler.model.traverse import inner_graphs
from lth_deploy.errors import ArtifactError

_FIRST_OPSET = 16
"""From here on there is a GridSample, and up to 19 its mode is called bilinear."""

_RENAMED = 20

_CORNERS = 4

_MOST_NODES = 128
"""Most nodes of one sampling."""

_MOST_ELEMENTS = 1 << 24
"""Largest image, and most samples, that are tried out."""

_DIFFERENCE = 1e-4
"""Of the largest value: places are computed in another order, and pixels are up to a value's size apart."""


@dataclass(frozen=True)
class _Sampling:
    """image [N, C, H, W], places [N, H', W', 2] from -1 to 1, made [N, C, H', W']. nodes: all between, in order."""

    image: str
    places: str
    made: str
    nodes: tuple[NodeProto, ...]


def sample_images(model: ModelProto) -> int:
    """Write, in place, each as a GridSample; how many."""
    opset = standard_opset(model)
    if opset < _FIRST_OPSET or not any(standard(node, "GatherElements") for node in model.graph.node):
        return 0
    graph, info = MainGraph(model), infer(model)
    gathers: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        if standard(node, "GatherElements"):
            gathers.setdefault(node.input[0], []).append(node)
    samplings = [_sampling(graph, info, image, found) for image, found in gathers.items()]
    written = [one for one in samplings if one is not None and _is_grid_sample(graph, info, one, opset)]
    if not written:
        return 0
    last = {one.made: one for one in written}
    gone = {name for one in written for node in one.nodes for name in node.output}
    nodes = []
    for node in graph.nodes:
        one = last.get(node.output[0]) if node.output else None
        if one is not None:
            nodes.append(_grid_sample([one.image, one.places], one.made, opset))
        elif not gone & set(node.output):
            nodes.append(node)
    put_nodes(model, nodes)
    return len(written)


def _grid_sample(inputs: Sequence[str], made: str, opset: int) -> NodeProto:
    mode = "bilinear" if opset < _RENAMED else "linear"
    return helper.make_node("GridSample", inputs, [made], made, mode=mode, padding_mode="zeros", align_corners=0)


def _sampling(graph: MainGraph, info: Inferred, flat: str, gathers: list[NodeProto]) -> _Sampling | None:
    """Of the gathers of one tensor, which is an image with its pixels in a row."""
    reshape = graph.makers.get(flat)
    if len(gathers) != _CORNERS or reshape is None or not standard(reshape, "Reshape"):
        return None
    image = info.dims.get(reshape.input[0])
    made = _sum_of(graph, gathers)
    found = None if made is None else info.dims.get(made)
    if image is None or found is None or len(image) != len(found) or len(image) != 4 or None in (*image, *found):
        return None
    if image[:2] != found[:2]:
        return None
    assert made is not None
    places = (found[0], *found[2:], 2)
    inner, borders = _between(graph, made, lambda name: name == reshape.input[0] or info.dims.get(name) == places)
    outside = borders - {reshape.input[0]}
    if len(outside) != 1 or len(inner) > _MOST_NODES:
        return None
    is_closed = all(_read_inside(graph, node, inner) for node in inner if made not in node.output)
    return _Sampling(reshape.input[0], outside.pop(), made, tuple(inner)) if is_closed else None


def _sum_of(graph: MainGraph, gathers: list[NodeProto]) -> str | None:
    """The first tensor that follows from all four."""
    from_gathers: dict[str, set[int]] = {node.output[0]: {place} for place, node in enumerate(gathers)}
    for node in graph.nodes:
        if any(node is one for one in gathers):
            continue
        reached = set[int]().union(*(from_gathers.get(name, ()) for name in node.input))
        if len(reached) == _CORNERS:
            return str(node.output[0])
        for name in node.output if reached else ():
            from_gathers[name] = reached
    return None


def _between(graph: MainGraph, made: str, is_border: Callable[[str], bool]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that a tensor follows from, in order, up to the borders; and these, with what nothing makes."""
    inner: dict[int, NodeProto] = {}
    borders: set[str] = set()
    waiting = [made]
    while waiting and len(inner) <= _MOST_NODES:
        name = waiting.pop()
        node = graph.makers.get(name)
        if not name or graph.tensor(name) is not None:
            continue
        if is_border(name) or node is None or node.domain not in STANDARD_DOMAINS or list(inner_graphs(node)):
            borders.add(name)
        elif id(node) not in inner:
            inner[id(node)] = node
            waiting.extend(node.input)
    return [node for node in graph.nodes if id(node) in inner], borders


def _read_inside(graph: MainGraph, node: NodeProto, inner: Iterable[NodeProto]) -> bool:
    known = {id(one) for one in inner}
    names = [name for name in node.output if name]
    return all(name not in graph.kept and all(id(one) in known for one in graph.readers[name]) for name in names)


def _is_grid_sample(graph: MainGraph, info: Inferred, one: _Sampling, opset: int) -> bool:
    """Whether the nodes compute on random images what GridSample does."""
    image, places = ([int(size or 0) for size in info.dims[name]] for name in (one.image, one.places))
    if max(np.prod(image, dtype=object), np.prod(places, dtype=object) * image[1]) > _MOST_ELEMENTS:
        return False
    rng = np.random.default_rng(0)
    pixels, spread = rng.standard_normal(image).astype(np.float32), rng.uniform(-1.3, 1.3, places)
    try:
        given, wanted = (session(_part(graph, info, one, nodes, opset)) for nodes in (one.nodes, None))
        for grid in (spread, 8 * spread, _on_pixels(spread, image)):
            feeds: Feeds = {one.image: pixels, one.places: np.asarray(grid, np.float32)}
            found, expected = (run(running, [one.made], feeds)[one.made] for running in (given, wanted))
            if (
                found.shape != expected.shape
                or not np.abs(found - expected).max() <= _DIFFERENCE * np.abs(pixels).max()
            ):
                return False
    except ArtifactError:
        return False
    return True


def _on_pixels(spread: Array, image: Sequence[int]) -> Array:
    """Places in the middle of pixels, and of those around the image."""
    size = np.array([image[3], image[2]])
    return np.asarray((2 * np.round((spread + 1) * size / 2) + 1) / size - 1)


def _part(
    graph: MainGraph, info: Inferred, one: _Sampling, nodes: Sequence[NodeProto] | None, opset: int
) -> ModelProto:
    """The nodes of a sampling as a model, or without any a GridSample."""
    part = list(nodes or [_grid_sample([one.image, one.places], one.made, opset)])
    made = {name for node in part for name in node.output}
    constants = {name for node in part for name in node.input} - made - {one.image, one.places, ""}
    tensors = []
    for name in sorted(constants):
        tensor = TensorProto()
        found = graph.tensor(name)
        if found is not None:
            tensor.CopyFrom(found)
            tensor.name = name
            tensors.append(tensor)
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, info.dims[name]) for name in (one.image, one.places)
    ]
    returned = [helper.make_tensor_value_info(one.made, TensorProto.FLOAT, None)]
    whole = helper.make_graph(part, "sampling", given, returned, tensors)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
