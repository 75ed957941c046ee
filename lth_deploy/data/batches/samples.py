"""One decoded image with its target tensors at training size, and its mirror images."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from lth_deploy.data.images import read_record
from lth_deploy.data.records import Annotation, CocoDataset, ImageRecord
from lth_deploy.data.segmentation import render
from lth_deploy.errors import DataError, UsageError
from lth_deploy.registry import did_you_mean

KINDS = ("bbox", "segm", "keypoints")

SMALLEST_SIDE = 1.0
"""Pixels at training size; under that a box can round to nothing, which torchvision refuses."""


@dataclass(frozen=True)
class Sample:
    """An image and its N objects, as tensors that nobody changes.

    image: uint8 [3, H, W]. boxes: float32 [N, 4], corners in pixels. labels: int64 [N] in 1..C.
    masks: uint8 [N, H, W]. keypoints: float32 [N, K, 3] as x, y, visibility.
    """

    image_id: int
    image: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None
    keypoints: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        tensors = (self.image, self.boxes, self.labels, self.masks, self.keypoints)
        return sum(t.nbytes for t in tensors if t is not None)

    def target(self) -> dict[str, torch.Tensor]:
        """What torchvision's detectors take, in fresh tensors: whoever changes them changes no cache."""
        target = {
            "boxes": self.boxes.clone(),
            "labels": self.labels.clone(),
            "image_id": torch.tensor([self.image_id]),
        }
        if self.masks is not None:
            target["masks"] = self.masks.clone()
        if self.keypoints is not None:
            target["keypoints"] = self.keypoints.clone()
        return target

    def flipped(self, mirrored_keypoints: list[int], *, vertically: bool = False) -> "Sample":
        """Left and right (or top and bottom) exchanged; keypoint k becomes keypoint `mirrored_keypoints[k]`.

        Either mirror makes a left hand look like a right one.
        """
        axis = 1 if vertically else 0
        dimension = -1 - axis
        extent = self.image.shape[dimension]
        boxes = self.boxes.clone()
        boxes[:, [axis, axis + 2]] = extent - self.boxes[:, [axis + 2, axis]]
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints[:, mirrored_keypoints].clone()
            labeled, place = keypoints[..., 2] > 0, keypoints[..., axis]
            keypoints[..., axis] = torch.where(labeled, extent - place, place)
        masks = None if self.masks is None else self.masks.flip(dimension)
        return replace(self, image=self.image.flip(dimension), boxes=boxes, masks=masks, keypoints=keypoints)


class SampleReader:
    """Decodes images of one data set at training size."""

    def __init__(self, dataset: CocoDataset, kinds: frozenset[str], load_size: tuple[int, int] | None) -> None:
        """See `DetectionDataset`.

        Raises:
            DataError: `kinds` asks for what the data set lacks.
            UsageError: a kind of another name.
        """
        for unknown in sorted(kinds - set(KINDS)):
            raise UsageError(f"unknown kind of target '{unknown}'{did_you_mean(unknown, KINDS)}")
        if "segm" in kinds and not dataset.has_masks:
            raise DataError(_lacks_masks(dataset))
        if "keypoints" in kinds and not dataset.keypoint_names:
            raise DataError("keypoints are to be trained, but no category of the data set names any")
        self._dataset = dataset
        self._kinds = kinds
        self._load_size = load_size
        self.mirrored_keypoints = mirror_order(dataset.keypoint_names)

    def read(self, record: ImageRecord) -> Sample:
        """Decode, shrink and build targets.

        Raises:
            DataError: the file is damaged or not of the annotated size.
        """
        image = self._decode(record)
        height, width = image.shape[-2:]
        scale = torch.tensor([width / record.width, height / record.height])
        objects = [a for a in self._dataset.annotations[record.id] if not a.iscrowd]
        boxes = _boxes(objects, scale, width, height)
        keep = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST_SIDE).all(1)
        objects = [a for a, kept in zip(objects, keep.tolist(), strict=True) if kept]
        labels = torch.tensor([self._dataset.labels[a.category_id] for a in objects], dtype=torch.int64)
        masks = _masks(objects, record, width, height) if "segm" in self._kinds else None
        points = len(self._dataset.keypoint_names)
        keypoints = _keypoints(objects, points, scale) if "keypoints" in self._kinds else None
        return Sample(record.id, image, boxes[keep], labels, masks, keypoints)

    def _decode(self, record: ImageRecord) -> torch.Tensor:
        pixels = read_record(record)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return image if self._load_size is None else shrink(image, self._load_size)


def shrink(image: torch.Tensor, load_size: tuple[int, int]) -> torch.Tensor:
    """uint8 [3, H, W] shrunk to fit a longest and a shortest side; never enlarged.

    Plain bilinear as in torchvision's own transform, which an exported detector repeats on full-size images:
    smoothing here would train on sharper or softer images than the artifact ever sees.
    """
    longest, shortest = max(load_size), min(load_size)
    height, width = image.shape[-2:]
    factor = min(longest / max(height, width), shortest / min(height, width))
    if factor >= 1.0:
        return image
    size = (max(1, int(height * factor)), max(1, int(width * factor)))
    shrunk = torch.nn.functional.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)
    return shrunk[0].round().clamp(0, 255).to(torch.uint8)


def mirror_order(names: tuple[str, ...]) -> list[int]:
    """For each keypoint the position of the one it becomes in a mirror: 'left' and 'right' change places."""
    positions = {name: position for position, name in enumerate(names)}
    return [positions.get(_mirrored(name), position) for position, name in enumerate(names)]


def _mirrored(name: str) -> str:
    for one, other in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if one in name:
            return name.replace(one, other)
        if other in name:
            return name.replace(other, one)
    return name


def _boxes(objects: list[Annotation], scale: torch.Tensor, width: int, height: int) -> torch.Tensor:
    boxes = torch.tensor([a.bbox for a in objects], dtype=torch.float32).reshape(-1, 4)
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) * scale.repeat(2)
    return torch.minimum(corners.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))


def _masks(objects: list[Annotation], record: ImageRecord, width: int, height: int) -> torch.Tensor:
    masks = torch.zeros((len(objects), height, width), dtype=torch.uint8)
    for position, annotation in enumerate(objects):
        assert annotation.segmentation is not None
        drawn = render(annotation.segmentation, (record.width, record.height), (width, height))
        masks[position] = torch.from_numpy(np.ascontiguousarray(drawn))
    return masks


def _keypoints(objects: list[Annotation], points: int, scale: torch.Tensor) -> torch.Tensor:
    blank = (0.0,) * (3 * points)
    rows = [a.keypoints or blank for a in objects]
    keypoints = torch.tensor(rows, dtype=torch.float32).reshape(-1, points, 3)
    keypoints[..., :2] *= scale
    return keypoints


def _lacks_masks(dataset: CocoDataset) -> str:
    bare = [a.id for g in dataset.annotations.values() for a in g if not a.iscrowd and a.segmentation is None]
    which = f"annotation {bare[0]} (and {len(bare) - 1} more) has none" if bare else "there is no object"
    return f"training masks needs a segmentation for every object, but {which}; choose a detector of boxes"
