"""What the stock runtime computes at inner values of a packed model, such as the borders of its regions."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.runtimes import RUNTIMES

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.extract_region import ExtractedRegion


def stock_values(
    model: "ModelProto", regions: Sequence["ExtractedRegion"], names: Iterable[str], path: Path
) -> Callable[[Feeds], Arrays]:
    """A function from the model's inputs to the values of these names, computed on one thread.

    regions: of the model, which know the types. names: of borders of the regions; one given twice counts once. path: of
    a file that is written for the runtime.

    Raises:
        ArtifactError: the runtime does not load the model.
    """
    from lth_deploy.compiler.artifact.extract_region import with_outputs
    from lth_deploy.compiler.model.save import save_model

    wanted = list(dict.fromkeys(names))
    types = {name: element for region in regions for name, element in region.types.items()}
    save_model(with_outputs(model, wanted, types), path)
    stock = RUNTIMES.get("onnxruntime").load(path, threads=1)
    return lambda feeds: dict(zip(wanted, stock.run(feeds).values(), strict=True))
