"""Elements of the small integer tensors that sizes are computed with; None where they are not known."""

from collections.abc import Callable

from onnx import NodeProto, TensorProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo, slice_bounds


def _shape_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    x = info.shapes.get(node.input[0])
    return None if x is None else x[attribute(node, "start", 0) : attribute(node, "end", len(x))]


def _gather_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    source, index = info.values.get(node.input[0]), info.constant(node.input[1])
    if source is None or index is None or attribute(node, "axis", 0) != 0 or index.ndim > 1:
        return None
    chosen = [int(i) for i in index.reshape(-1)]
    return tuple(source[i] for i in chosen) if all(-len(source) <= i < len(source) for i in chosen) else None


def _slice_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    source, bounds = info.values.get(node.input[0]), slice_bounds(info, node)
    return None if source is None or bounds is None else source[bounds[1] : bounds[2]]


def _concat_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    parts = [info.values.get(name) for name in node.input]
    return None if any(part is None for part in parts) else tuple(dim for part in parts if part for dim in part)


def _same_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    return info.values.get(node.input[0])


def _cast_values(info: TensorInfo, node: NodeProto) -> Shape | None:
    # Behind a cast to float a division is no longer rounded down.
    integer = attribute(node, "to") in (TensorProto.INT64, TensorProto.INT32)
    return info.values.get(node.input[0]) if integer else None


def _arithmetic(operation: Callable[[Dim, Dim], Dim | None]) -> Callable[[TensorInfo, NodeProto], Shape | None]:
    def values(info: TensorInfo, node: NodeProto) -> Shape | None:
        a, b = (info.values.get(name) for name in node.input[:2])
        if a is None or b is None or len(a) != len(b):
            return None
        made = [operation(x, y) for x, y in zip(a, b, strict=True)]
        return None if any(one is None for one in made) else tuple(one for one in made if one is not None)

    return values


def _product(a: Dim, b: Dim) -> Dim | None:
    if b.known is not None:
        return a * b.known
    return None if a.known is None else b * a.known


def _ratio(a: Dim, b: Dim) -> Dim | None:
    return a // b.known if b.known else None


VALUE_RULES: dict[str, Callable[[TensorInfo, NodeProto], Shape | None]] = {
    "Shape": _shape_values,
    "Gather": _gather_values,
    "Slice": _slice_values,
    "Concat": _concat_values,
    "Cast": _cast_values,
    "Identity": _same_values,
    "Unsqueeze": _same_values,
    "Squeeze": _same_values,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(_product),
    "Div": _arithmetic(_ratio),
}
