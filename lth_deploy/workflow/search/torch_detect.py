"""A torch detector over a whole data set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_deploy.progress import progress

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.records import CocoDataset, ImageRecord
    from lth_deploy.evaluation.coco_rows import CompactDetections


def detect(
    model: "nn.Module",
    dataset: "CocoDataset",
    device: "torch.device",
    batch_size: int = 1,
    split: str | None = None,
) -> "dict[int, CompactDetections]":
    """Detections by image id; images are read from disk one batch at a time, masks are kept run-length coded.

    split: the name of `dataset` in the recipe of the search that runs. Its ranks then divide the images among them.
    """
    from lth_deploy.evaluation.stored_detections import unpack_detections
    from lth_deploy.training.ranks.process_group import current_ranks
    from lth_deploy.training.state import TrainingState

    ranks = current_ranks()
    if split is None or not ranks.shared:
        return _detect(model, dataset.images, device, batch_size)
    message = {"do": "detect", "split": split, "batch_size": batch_size}
    with ranks.together(message, TrainingState.capture(0, model).model):
        parts = detect_own_share(model, dataset, device, batch_size)
    found = {image: one for part in parts for image, one in unpack_detections(part).items()}
    return {record.id: found[record.id] for record in dataset.images}


def detect_own_share(
    model: "nn.Module", dataset: "CocoDataset", device: "torch.device", batch_size: int
) -> list[bytes]:
    """Detect on the images of this rank; gives the packed detections of all ranks on rank 0, and nothing on others."""
    from lth_deploy.evaluation.stored_detections import pack_detections
    from lth_deploy.training.ranks.process_group import current_ranks

    ranks = current_ranks()
    own = _detect(model, dataset.images[ranks.rank :: ranks.size], device, batch_size)
    return ranks.gather(pack_detections(own))


def _detect(
    model: "nn.Module", images: "Sequence[ImageRecord]", device: "torch.device", batch_size: int
) -> "dict[int, CompactDetections]":
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict
    from lth_deploy.evaluation.coco_rows import compact

    found = {}
    with progress("detection", total=len(images)) as step:
        for start in range(0, len(images), batch_size):
            records = images[start : start + batch_size]
            batch = predict(model, [read_record(record) for record in records], device, batch_size)
            found.update({record.id: compact(one) for record, one in zip(records, batch, strict=True)})
            step(len(records))
    return found
