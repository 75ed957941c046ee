"""Fixing the sizes of inputs that a model leaves open."""

from collections.abc import Mapping

from onnx import ModelProto, ValueInfoProto

from lth_deploy.compiler.importing.plain.inferred import Dims, infer


def freeze_sizes(model: ModelProto, sizes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Give inputs these sizes, in place; what was done. What the file says of sizes behind them is dropped."""
    frozen = []
    for value in model.graph.input:
        if value.name in sizes and _set(value, sizes[value.name]):
            frozen.append(f"{value.name} {'x'.join(map(str, sizes[value.name])) or 'scalar'}")
    if not frozen:
        return []
    del model.graph.value_info[:]
    return [f"fixed the size of {', '.join(frozen)}"]


def state_output_sizes(model: ModelProto) -> None:
    """Write, in place, sizes of outputs that are known now where the file leaves them open."""
    inferred = infer(model)
    for value in model.graph.output:
        dims = inferred.dims.get(value.name)
        if dims is not None and value.type.HasField("tensor_type"):
            _set(value, dims)


def _set(value: ValueInfoProto, dims: Dims) -> bool:
    """Set the sizes that are known; whether one of them was open."""
    shape = value.type.tensor_type.shape
    if not value.type.tensor_type.HasField("shape"):
        for _ in dims:
            shape.dim.add()
    if len(shape.dim) != len(dims):
        return False
    open_before = False
    for place, size in enumerate(dims):
        if size is not None and shape.dim[place].dim_value <= 0:
            open_before = True
            shape.dim[place].dim_value = size
    return open_before
