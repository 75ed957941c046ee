"""Folding a Pad with zeros into the convolutions that read it."""

from onnx import ModelProto, NodeProto, helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.model.attributes import attribute


def absorb_pads(model: ModelProto) -> int:
    """Fold, in place, into each Conv that reads what is padded; how many pads. Other readers keep theirs."""
    if not any(standard(node, "Pad") for node in model.graph.node):
        return 0
    graph, gone, folded = MainGraph(model), set[int](), 0
    for node in graph.nodes:
        if not standard(node, "Pad"):
            continue
        made = node.output[0]
        readers = graph.readers.get(made, [])
        taken = [reader for reader in readers if _takes_in(graph, node, reader)]
        folded += bool(taken)
        if readers and len(taken) == len(readers) and made not in graph.kept:
            gone.add(id(node))
    if folded:
        put_nodes(model, [node for node in graph.nodes if id(node) not in gone])
    return folded


def _takes_in(graph: MainGraph, node: NodeProto, reader: NodeProto) -> bool:
    """Have a Conv pad what a Pad pads; whether it does."""
    if not standard(reader, "Conv") or list(reader.input).count(node.output[0]) != 1:
        return False
    if reader.input[0] != node.output[0]:
        return False
    weight = graph.tensor(reader.input[1])
    added = None if weight is None else _zeros_around(graph, node, len(weight.dims) - 2)
    own = None if weight is None else own_pads(reader, len(weight.dims) - 2)
    if added is None or own is None:
        return False
    kept = [one for one in reader.attribute if one.name not in ("pads", "auto_pad")]
    del reader.attribute[:]
    reader.attribute.extend(kept)
    reader.attribute.append(helper.make_attribute("pads", [a + b for a, b in zip(added, own, strict=True)]))
    reader.input[0] = node.input[0]
    return True


def _zeros_around(graph: MainGraph, node: NodeProto, spatial: int) -> list[int] | None:
    """Zeros that a Pad adds before and behind each spatial axis; None where it adds anything else."""
    if attribute(node, "mode", "constant") != "constant" or len(node.input) < 2:
        return None
    given = [graph.tensor(name) if name else None for name in (*node.input[1:], "", "", "")[:3]]
    missing = [bool(name) and tensor is None for name, tensor in zip(node.input[1:], given, strict=False)]
    pads = given[0]
    if pads is None or any(missing) or (given[1] is not None and array_of(given[1]).any()):
        return None
    rank, sizes = spatial + 2, [int(size) for size in array_of(pads).reshape(-1)]
    axes = list(range(rank)) if given[2] is None else [int(axis) for axis in array_of(given[2]).reshape(-1)]
    if len(sizes) != 2 * len(axes) or min(sizes, default=-1) < 0:
        return None
    around = [[0] * rank, [0] * rank]
    for place, axis in enumerate(axes):
        if not -rank <= axis < rank:
            return None
        around[0][axis % rank], around[1][axis % rank] = sizes[place], sizes[place + len(axes)]
    if any(side[axis] for side in around for axis in (0, 1)):
        return None
    return around[0][2:] + around[1][2:]


def own_pads(node: NodeProto, spatial: int) -> list[int] | None:
    """What a Conv pads itself; None where that depends on the size of its input."""
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    own = [0] * (2 * spatial) if attribute(node, "auto_pad", "NOTSET") == "VALID" else attribute(node, "pads", None)
    own = [0] * (2 * spatial) if own is None else [int(size) for size in own]
    return own if len(own) == 2 * spatial else None
