"""Example images for the report: the same photo with the detections of the dense control and of the ticket."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.run.summary import ExampleImage

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.records import CocoDataset

PICTURES = 4


def write_pictures(
    run: Path, dataset: "CocoDataset", models: Mapping[str, "nn.Module"], device: "torch.device"
) -> list[ExampleImage]:
    """Draw the photos with most objects, as each model sees them, into `run`/pictures.

    Returns their titles and paths relative to the run.
    """
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict
    from lth_deploy.reporting.drawing.detections import compare, encode_png

    fullest = sorted(dataset.images, key=lambda record: -len(dataset.annotations[record.id]))[:PICTURES]
    skeleton = next((category.skeleton for category in dataset.categories if category.skeleton), ())
    written = []
    for number, record in enumerate(fullest):
        image = read_record(record)
        found = {name: predict(model, [image], device)[0] for name, model in models.items()}
        file = run / "pictures" / f"{number}.png"
        storage.write_bytes(file, encode_png(compare(image, found, dataset.class_names, skeleton=skeleton)))
        written.append(ExampleImage(title=record.file_name, path=str(file.relative_to(run))))
    return written
