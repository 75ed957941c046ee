"""What a detector's final predictors say, without matching, suppression or any other choice in between."""

import torch
from torch import Tensor, nn

from lth_deploy.detectors.families.classifier import Classifier


def raw_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Logits and deltas of every head, differentiable with respect to every weight of the network.

    Args:
        model: a detector of `build_detector`.
        images: float [N, 3, S, S], normalized. Heads that look at regions see squares of S, S/2 and S/4 pixels, so
            that their answer does not hang on which proposals survive.
    """
    features = model.get_submodule("backbone")(images)
    if isinstance(model, Classifier):
        return [model.fc(features)]
    maps = list(features.values())
    if not hasattr(model, "roi_heads"):
        return list(model.get_submodule("head")(maps).values())
    heads = model.get_submodule("roi_heads")
    outputs = [value for found in model.get_submodule("rpn.head")(maps) for value in found]
    parts = {
        "box": ("box_roi_pool", "box_head", "box_predictor"),
        "mask": ("mask_roi_pool", "mask_head", "mask_predictor"),
        "keypoint": ("keypoint_roi_pool", "keypoint_head", "keypoint_predictor"),
    }
    side = images.shape[-1]
    squares = torch.tensor([[0.0, 0.0, side / k, side / k] for k in (1, 2, 4)]).to(images)
    for names in parts.values():
        if getattr(heads, names[0], None) is not None:
            pool, head, predictor = (heads.get_submodule(name) for name in names)
            answer = predictor(head(pool(features, [squares] * len(images), [(side, side)] * len(images))))
            outputs.extend(answer if isinstance(answer, tuple) else (answer,))
    return outputs
