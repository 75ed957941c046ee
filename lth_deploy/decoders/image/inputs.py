"""The inputs of a detector: one image, and what some families want to know beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.image.plan import InputPlan
from lth_deploy.decoders.image.preprocessing import Placement, Preprocessing, fitted, normalized, placed
from lth_deploy.decoders.model.signature import Signature, TensorType
from lth_deploy.errors import ArtifactError
from lth_deploy.resampling import Pixels

Layout = Literal["NCHW", "NHWC", "CHW", "HWC"]
_DTYPES = ("float32", "float16", "uint8")

SIDE_INPUTS: Mapping[str, Callable[[Placement], list[list[float]]]] = {
    "orig_target_sizes": lambda where: [[where.width, where.height]],
    "orig_target_size": lambda where: [[where.width, where.height]],
    "im_shape": lambda where: [[where.input_height, where.input_width]],
    "scale_factor": lambda where: [[where.scale_y, where.scale_x]],
}
"""Small inputs that some exporters add: sizes of the image and of the input, and the scale between them."""


@dataclass(frozen=True)
class ImageInput:
    """name, dtype, layout: of the input for the image. height, width: its size. others: dtypes of small inputs."""

    name: str
    dtype: str
    layout: Layout
    height: int
    width: int
    others: Mapping[str, str] = field(default_factory=dict)

    def feeds(self, image: Pixels, how: Preprocessing) -> tuple[Arrays, Placement]:
        """Values of all inputs for an RGB image, and where it lies in the input."""
        canvas, where = placed(image, self.height, self.width, how)
        planes = normalized(canvas, how, np.dtype(self.dtype))
        if self.layout in ("NHWC", "HWC"):
            planes = planes.transpose(1, 2, 0)
        value = planes[None] if self.layout.startswith("N") else planes
        return {self.name: np.ascontiguousarray(value), **self._side_inputs(where)}, where

    def plan(self, height: int, width: int, how: Preprocessing) -> InputPlan:
        """What `feeds` computes of an image of this size."""
        inner, where = fitted(height, width, self.height, self.width, how)
        return InputPlan(self.name, self.dtype, self.layout, how, inner, where, self._side_inputs(where))

    def _side_inputs(self, where: Placement) -> Arrays:
        return {name: np.array(SIDE_INPUTS[name](where), np.dtype(dtype)) for name, dtype in self.others.items()}


def find_image_input(signature: Signature, said: tuple[int, int] | None, usual: tuple[int, int]) -> ImageInput | str:
    """The input for the image; or in words why there is none.

    said: height and width from the metadata of the file. usual: those of the family, where nobody says any.

    Raises:
        ArtifactError: the metadata say another size than the graph.
    """
    images = [(tensor, layout) for tensor in signature.inputs if (layout := _layout(tensor)) is not None]
    if len(images) != 1:
        found = "; ".join(map(str, signature.inputs)) or "none"
        return f"it has {len(images) or 'no'} inputs for an image of 3 channels among its inputs: {found}"
    tensor, layout = images[0]
    others = {other.name: other.dtype for other in signature.inputs if other is not tensor}
    unknown = [name for name in others if name not in SIDE_INPUTS]
    if unknown:
        return f"nobody says what its input '{unknown[0]}' is"
    untyped = [other for other in signature.inputs if other is not tensor and not (other.is_float or other.is_integer)]
    if untyped:
        return f"input {untyped[0]} takes no numbers"
    assert tensor.shape is not None
    if layout.startswith("N") and tensor.shape[0] not in (None, 1):
        return f"input {tensor} takes {tensor.shape[0]} images at once; export it for one"
    if tensor.dtype not in _DTYPES:
        return f"input {tensor} is of none of the types {', '.join(_DTYPES)}"
    axis = layout.index("H")
    own = tensor.shape[axis : axis + 2]
    if said is not None and any(size is not None and size != other for size, other in zip(own, said, strict=True)):
        raise ArtifactError(
            f"metadata 'imgsz' is {said[0]}x{said[1]}, but the graph refuses it: input {tensor}; correct the metadata"
        )
    height, width = (size or other for size, other in zip(own, said or usual, strict=True))
    return ImageInput(tensor.name, tensor.dtype, layout, height, width, others)


def _layout(tensor: TensorType) -> Layout | None:
    """Where an input has its channels, if it is an image."""
    if tensor.shape is None or tensor.name in SIDE_INPUTS:
        return None
    rank, shape = len(tensor.shape), tensor.shape
    if rank == 4:
        return "NCHW" if shape[1] == 3 else "NHWC" if shape[3] == 3 else "NCHW" if shape[1] is None else None
    if rank == 3:
        return "CHW" if shape[0] == 3 else "HWC" if shape[2] == 3 else None
    return None
