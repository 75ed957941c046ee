"""What an error in one layer does to the outputs of a model."""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto

from lth_deploy.arrays import Array, Arrays, Feeds
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.artifact.value_types import set_weights
from lth_deploy.compiler.model.last_layers import last_layers
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.element_types import FLOAT32
from lth_deploy.progress import progress


def output_errors(model: ModelProto, changed: Mapping[str, Array], feeds: Sequence[Feeds]) -> dict[str, float]:
    """For each changed weight alone: squared error over squared size, summed over the outputs of the model.

    Where lists of detections differ in length there is nothing to compare: the last layers count instead.

    Raises:
        ArtifactError: the model does not run on the feeds.
    """
    given = [value.name for value in model.graph.output if value.type.tensor_type.elem_type == FLOAT32.onnx]
    layers = {node.output[0] for node in model.graph.node if traits_of(node.op_type).has_weight}
    names = [given, [node.output[0] for node in last_layers(model.graph, layers)]]
    shown = with_outputs(model, list(dict.fromkeys(name for group in names for name in group)))
    exact = _outputs(shown, feeds)
    tensors = {tensor.name: tensor for tensor in shown.graph.initializer}
    errors = {}
    with progress("sensitivity of the layers", total=len(changed)) as step:
        for name, weights in changed.items():
            kept = type(tensors[name]).FromString(tensors[name].SerializeToString())
            set_weights(tensors[name], weights)
            found = _outputs(shown, feeds)
            tensors[name].CopyFrom(kept)
            errors[name] = next((error for group in names if (error := _error(found, exact, group)) is not None), 0.0)
            step()
    return errors


def _outputs(model: ModelProto, feeds: Sequence[Feeds]) -> list[Arrays]:
    names = [value.name for value in model.graph.output]
    running = session(model)
    return [run(running, names, feed) for feed in feeds]


def _error(
    found: Sequence[Mapping[str, Array]], exact: Sequence[Mapping[str, Array]], names: Sequence[str]
) -> float | None:
    """None where no output has the same shape on all feeds."""
    total: float | None = None
    for name in names:
        pairs = [(made[name], wanted[name].astype(np.float64)) for made, wanted in zip(found, exact, strict=True)]
        if any(made.shape != wanted.shape for made, wanted in pairs):
            continue
        power = sum(float(np.square(wanted).sum()) for _, wanted in pairs)
        lost = sum(float(np.square(made - wanted).sum()) for made, wanted in pairs)
        if power > 0 and np.isfinite(lost):
            total = (total or 0.0) + lost / power
    return total
