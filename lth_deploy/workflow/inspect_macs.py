"""How often a file's weights are multiplied, for `inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import LthError

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.metadata import ArtifactMetadata


def counted_positions(
    path: Path, model: "ModelProto", plain: "ModelProto", metadata: "ArtifactMetadata | None", run: bool
) -> tuple[dict[str, int], list[str]]:
    """Multiplications of each weight, and what to say of them; none where one is not known: a part would mislead.

    From the metadata, by shape inference, or, where `run` asks for it, from a run. plain: the model without regions.
    """
    if metadata is not None and metadata.positions:
        return dict(metadata.positions), []
    from lth_deploy.compiler.noise import noise_sizes
    from lth_deploy.compiler.size_inference import positions_from, without_weights
    from lth_deploy.workflow.limited_runs import inferred_sizes, measured_positions

    try:
        sizes = noise_sizes(model)
        said = ", ".join(f"{name} {list(size)}" for name, size in sizes.items())
        if run:
            return measured_positions(path, sizes), [f"MACs were counted in a run on noise: {said}"]
        counted, unknown = positions_from(plain, inferred_sizes(without_weights(plain, sizes)))
    except LthError as error:
        return {}, [f"MACs are not known: {error}"]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown[:3])
        return {}, [
            f"MACs are not known: the model computes the sizes of {len(unknown)} layers while it runs ({names}); "
            "--run counts them, with noise as input"
        ]
    return counted, [f"MACs follow from the sizes of the inputs: {said}"]
