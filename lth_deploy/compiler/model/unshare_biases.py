"""Giving layers biases of their own: exporters store equal ones once, which ties the layers that use them."""

from onnx import ModelProto

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import unused_name, used_names


def unshare_biases(model: ModelProto, *, each_use: bool = False) -> None:
    """Copy, in place, what weights of a prepared model share as their bias.

    each_use: for each use of a weight too; otherwise these go on sharing.
    """
    tensors, names = {tensor.name: tensor for tensor in model.graph.initializer}, used_names(model)
    own: dict[tuple[str, str | int], str] = {}
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        place = traits_of(node.op_type).bias_input
        bias = node.input[place] if place is not None and place < len(node.input) else ""
        if place is None or bias not in tensors:
            continue
        pair = (bias, number if each_use else node.input[1])
        if pair not in own:
            own[pair] = unused_name(f"{node.input[1]}.bias", names) if bias in taken else bias
            taken.add(bias)
            if own[pair] != bias:
                copy = model.graph.initializer.add()
                copy.CopyFrom(tensors[bias])
                copy.name = own[pair]
        node.input[place] = own[pair]
