"""Initializers that are inputs of the graph as well: a caller may replace them, so they are no constants."""

from onnx import ModelProto

CONSTANTS_SINCE = 4
"""First IR version in which an initializer need not be an input: before, all had to be, to no purpose."""

NAMED = 4


def freeze_inputs(model: ModelProto, *, keep: bool) -> list[str]:
    """Make such initializers constants, in place; what was done.

    keep: whether those that a caller may replace (of IR version 4 and later) stay inputs.
    """
    names = {tensor.name for tensor in model.graph.initializer}
    frozen = [value.name for value in model.graph.input if value.name in names]
    if not frozen or (keep and model.ir_version >= CONSTANTS_SINCE):
        return []
    inputs = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if model.ir_version < CONSTANTS_SINCE:
        return []
    listed = ", ".join(frozen[:NAMED]) + (f" and {len(frozen) - NAMED} more" if len(frozen) > NAMED else "")
    return [f"graph inputs with a default value are constants now, which --keep-inputs refuses: {listed}"]
