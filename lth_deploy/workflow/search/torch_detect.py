"""A torch detector over a whole data set."""

from typing import TYPE_CHECKING

from lth_deploy.progress import progress

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.records import CocoDataset
    from lth_deploy.evaluation.coco_rows import CompactDetections


def detect(
    model: "nn.Module", dataset: "CocoDataset", device: "torch.device", batch_size: int = 1
) -> dict[int, "CompactDetections"]:
    """Detections by image id; images are read from disk one batch at a time, masks are kept run-length coded."""
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict
    from lth_deploy.evaluation.coco_rows import compact

    found = {}
    with progress("detection", total=len(dataset.images)) as step:
        for start in range(0, len(dataset.images), batch_size):
            records = dataset.images[start : start + batch_size]
            batch = predict(model, [read_record(record) for record in records], device, batch_size)
            found.update({record.id: compact(one) for record, one in zip(records, batch, strict=True)})
            step(len(records))
    return found
