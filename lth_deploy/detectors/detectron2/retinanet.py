"""RetinaNet that suppresses boxes before it clips them, as detectron2 does."""

import torch
from torch import Tensor
from torchvision.models.detection import RetinaNet
from torchvision.models.detection._utils import _topk_min
from torchvision.ops import batched_nms, clip_boxes_to_image

from lth_deploy.detectors.dense import WithoutBackground


class _SuppressedFirst(RetinaNet):  # type: ignore[misc]
    """torchvision's network clips first, which changes how far boxes at the border overlap."""

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Detections of each image, best score first."""
        return [
            self._of_image(
                [deltas[index] for deltas in head_outputs["bbox_regression"]],
                [logits[index] for logits in head_outputs["cls_logits"]],
                anchors[index],
                shape,
            )
            for index, shape in enumerate(image_shapes)
        ]

    def _of_image(
        self, deltas: list[Tensor], logits: list[Tensor], anchors: list[Tensor], shape: tuple[int, int]
    ) -> dict[str, Tensor]:
        levels = [self._candidates(*level) for level in zip(deltas, logits, anchors, strict=True)]
        boxes, scores, labels = (torch.cat([level[part] for level in levels]) for part in range(3))
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": clip_boxes_to_image(boxes[keep], shape), "scores": scores[keep], "labels": labels[keep]}

    def _candidates(self, deltas: Tensor, logits: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, 4], scores and labels of one level: the best ones above the threshold."""
        scores = torch.sigmoid(logits).flatten()
        above = torch.where(scores > self.score_thresh)[0]
        best, order = scores[above].topk(_topk_min(above, self.topk_candidates, 0))
        chosen = above[order]
        anchor = torch.div(chosen, logits.shape[-1], rounding_mode="floor")
        return self.box_coder.decode_single(deltas[anchor], anchors[anchor]), best, chosen % logits.shape[-1]


class ConvertedRetinaNet(WithoutBackground, _SuppressedFirst):
    """RetinaNet of detectron2: labels 1..C, as everywhere in this project."""
