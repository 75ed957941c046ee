"""Detectors exported by lth_deploy: the graph itself resizes, normalizes and suppresses."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.decoders.image.inputs import ImageInput
from lth_deploy.decoders.image.plan import InputPlan
from lth_deploy.decoders.image.preprocessing import Preprocessing
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature
from lth_deploy.decoders.protocol import Photo
from lth_deploy.detections import Detections
from lth_deploy.errors import ArtifactError

INPUT = "image"
"""The one input: uint8 [H, W, 3], RGB."""

_AS_IS = Preprocessing(fit="as-is")


class LthDecoder:
    """Outputs: boxes [N, 4], scores [N], labels [N], and where the model has them masks and keypoints."""

    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    options: Mapping[str, str] = {}

    def prepare(self, image: Photo) -> tuple[Feeds, Any]:
        """The image as it is; the context is its height and width."""
        return {INPUT: np.ascontiguousarray(image)}, image.shape[:2]

    def plan(self, height: int, width: int) -> tuple[InputPlan, Any]:
        """See `PlansInput`."""
        return ImageInput(INPUT, "uint8", "HWC", height, width).plan(height, width, _AS_IS), (height, width)

    def decode(self, outputs: Arrays, context: Any) -> Detections:
        """Sort by score; the heads arrive in pixels of the image.

        Raises:
            ArtifactError: an output is absent or has another shape than the export writes.
        """
        absent = [name for name in ("boxes", "scores", "labels") if name not in outputs]
        if absent:
            raise ArtifactError(
                f"the model has no output '{absent[0]}' but {sorted(outputs)}; it is not an lth_deploy "
                "export, name its own decoder with --decoder"
            )
        boxes, scores, labels = (outputs[name] for name in ("boxes", "scores", "labels"))
        masks, keypoints = outputs.get("masks"), outputs.get("keypoints")
        if masks is not None and masks.ndim == 4:
            masks = masks[:, 0]
        count = len(scores)
        shapes = {
            "boxes": (boxes, (count, 4)),
            "labels": (labels, (count,)),
            "masks": (masks, (count, *context)),
            "keypoints": (keypoints, (count, *(() if keypoints is None else keypoints.shape[1:2]), 3)),
        }
        for name, (value, shape) in shapes.items():
            if value is not None and value.shape != shape:
                raise ArtifactError(
                    f"output '{name}' has shape {value.shape}, {shape} was expected for {count} detections; "
                    "export the model again"
                )
        order = np.argsort(-scores, kind="stable")
        return Detections(
            boxes.astype(np.float32),
            scores.astype(np.float32),
            labels.astype(np.int64),
            None if masks is None else masks.astype(np.float32, copy=False),
            None if keypoints is None else keypoints.astype(np.float32),
        ).select(order)


class Lth:
    """Models of this program. They resize and suppress by themselves."""

    name = "lth"
    outputs = ("boxes [N, 4], scores [N] and labels [N] for an input 'image' uint8 [H, W, 3]",)

    def fit(self, signature: Signature, hints: Hints) -> LthDecoder | str:
        """See `Family`."""
        given = [tensor for tensor in signature.inputs if tensor.name == INPUT and tensor.fits(None, None, 3)]
        if len(given) != 1 or given[0].dtype != "uint8" or len(signature.inputs) != 1:
            return "its one input is not 'image' uint8 [H, W, 3]"
        absent = [name for name in ("boxes", "scores", "labels") if signature.output(name) is None]
        return f"it has no output '{absent[0]}'" if absent else LthDecoder()
