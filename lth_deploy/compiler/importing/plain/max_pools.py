"""Large max pools with stride 1 as chains of small ones, as spatial pyramid pooling (SPP) has them.

The maximum over a window of 13 x 13 is that over 5 x 5 of 5 x 5 of 5 x 5: the same bits for 75 comparisons instead of
169, and pools of 5, 9 and 13 of one value share their first steps. At borders too, as padding is below all values.
"""

from onnx import ModelProto, NodeProto, helper

from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.model.attributes import attribute

STEPS = (2, 1)
"""How far the windows of a chain reach to each side: 5 x 5 and, where the rest is smaller, 3 x 3."""

SMALLEST = 3
"""Reach of the smallest window that is worth a chain: 7 x 7."""

LARGEST = 32
"""Reach of the largest window; a chain beyond it would have more nodes than are worth it."""


def chain_max_pools(model: ModelProto) -> int:
    """Write, in place, each as a chain; how many. Between bytes they stay, as each node there needs its own grid."""
    if not any(standard(node, "MaxPool") and _reach(node) for node in model.graph.node):
        return 0
    graph = MainGraph(model)
    by_source: dict[str, list[tuple[int, NodeProto]]] = {}
    for node in graph.nodes:
        reach = _reach(node) if standard(node, "MaxPool") else 0
        if reach and not standard(graph.makers.get(node.input[0], node), "DequantizeLinear"):
            by_source.setdefault(node.input[0], []).append((reach, node))
    written = {name: pools for name, pools in by_source.items() if max(reach for reach, _ in pools) >= SMALLEST}
    nodes, replaced = [], {id(node) for pools in written.values() for _, node in pools}
    for node in graph.nodes:
        if id(node) not in replaced:
            nodes.append(node)
        elif (pools := written.pop(node.input[0], None)) is not None:
            nodes.extend(_chain(graph, node.input[0], sorted(pools, key=lambda pool: pool[0])))
    if replaced:
        put_nodes(model, nodes)
    return sum(reach >= SMALLEST for pools in by_source.values() for reach, _ in pools)


def _reach(node: NodeProto) -> int:
    """How far a square window with stride 1 that keeps the size of a plane reaches to each side; 0 of others."""
    kernel = list(attribute(node, "kernel_shape", []))
    if len(kernel) != 2 or kernel[0] != kernel[1] or kernel[0] % 2 == 0 or len(node.output) != 1:
        return 0
    reach = int(kernel[0]) // 2
    plain = attribute(node, "auto_pad", "NOTSET") == "NOTSET" and list(attribute(node, "pads", [])) == [reach] * 4
    ones = all(set(attribute(node, name, [1])) <= {1} for name in ("strides", "dilations"))
    return reach if plain and ones and 0 < reach <= LARGEST else 0


def _chain(graph: MainGraph, source: str, pools: list[tuple[int, NodeProto]]) -> list[NodeProto]:
    """All pools of one value, the smallest first: each goes on from the largest window that is there already."""
    nodes: list[NodeProto] = []
    done = {0: source}
    for reach, node in pools:
        start = max(known for known in done if known < reach) if reach >= SMALLEST else 0
        name = done[start]
        while start < reach:
            step = next(size for size in STEPS if start + size <= reach)
            start += step
            last = start == reach
            output = node.output[0] if last else graph.fresh(f"{node.output[0]}.pooled{start}")
            label = node.name if last else f"{node.name}.pooled{start}"
            kernel, pads = [2 * step + 1] * 2, [step] * 4
            nodes.append(helper.make_node("MaxPool", [name], [output], label, kernel_shape=kernel, pads=pads))
            done.setdefault(start, output)
            name = output
    return nodes
