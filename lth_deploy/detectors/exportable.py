"""The form in which a detector is exported: all of it as one function of one image, if its source has no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy.detectors.inference import keypoints_with_scores, to_input
from lth_deploy.detectors.pooling import levels_merged_by_rows


class ExportableDetector(nn.Module):
    """A detector in evaluation mode: uint8 image in, detections in pixels of that image out."""

    input_name = "image"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def output_names(self) -> tuple[str, ...]:
        """boxes, scores, labels, then masks and keypoints if the detector has them."""
        names = ["boxes", "scores", "labels"]
        heads = getattr(self.model, "roi_heads", None)
        if heads is not None and heads.has_mask():
            names.append("masks")
        if heads is not None and heads.has_keypoint():
            names.append("keypoints")
        return tuple(names)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect in `image`, uint8 [H, W, 3] RGB.

        Returns, best score first: boxes float32 [N, 4] as x1, y1, x2, y2; scores float32 [N]; labels int64
        [N], 1..classes; masks float32 [N, H, W], probabilities; keypoints float32 [N, K, 3] as x, y, score.
        """
        with levels_merged_by_rows():
            found = self.model([to_input(image)])[0]
        outputs = [found["boxes"], found["scores"], found["labels"].to(torch.int64)]
        if "masks" in found:
            outputs.append(found["masks"][:, 0])
        if "keypoints" in found:
            outputs.append(keypoints_with_scores(found))
        return tuple(outputs)


@dataclass(frozen=True)
class ExportForm:
    """What is traced of a detector, and what has to be said of it.

    module: takes one tensor, gives a tuple of them; the detector is its submodule `model`, so that initializers have
    the names of the detector's parameters. decoder: the family that feeds the graph and reads its outputs.
    preprocessing, options: as artifacts record them for that decoder. shape: of the input, float32; None where the
    graph takes an image of any size as it is, uint8 [H, W, 3] RGB. input_name, output_names: of the graph.
    """

    module: nn.Module
    decoder: str
    preprocessing: Mapping[str, Any]
    options: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    input_name: str = "image"
    output_names: tuple[str, ...] = ("boxes", "scores", "labels")


WHOLE = {
    "input": "image, uint8 [height, width, 3], RGB, any size",
    "resize": "inside the graph",
    "outputs": "boxes x1 y1 x2 y2 in pixels of the image, scores, labels from 1",
}
"""What artifacts say of the preprocessing of a whole detector."""


def whole_detector(model: nn.Module) -> ExportForm:
    """The form of detectors that resize, normalize and suppress inside the graph, for images of every size."""
    module = ExportableDetector(model)
    return ExportForm(module, "lth", WHOLE, output_names=module.output_names)
