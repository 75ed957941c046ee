"""The whole detector as one function of one image, the form that is exported."""

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
