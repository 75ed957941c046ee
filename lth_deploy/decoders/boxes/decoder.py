"""The decoder of a model that takes one image and proposes boxes: what its family leaves to be filled in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.boxes.selection import Limits, Proposals, select
from lth_deploy.decoders.image.inputs import ImageInput, find_image_input
from lth_deploy.decoders.image.plan import InputPlan
from lth_deploy.decoders.image.preprocessing import Placement, Preprocessing
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature
from lth_deploy.detections import Detections
from lth_deploy.resampling import Pixels

Read = Callable[[Arrays, Placement], Proposals]


@dataclass(frozen=True)
class BoxDecoder:
    """image, preprocessing: of the input. read: from the outputs to boxes and scores. limits: of what is kept."""

    image: ImageInput
    preprocessing: Preprocessing
    read: Read
    limits: Limits
    class_names: tuple[str, ...] | None
    options: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, image: Pixels) -> tuple[Arrays, Placement]:
        """The inputs of the model, and where the image lies in them."""
        return self.image.feeds(image, self.preprocessing)

    def plan(self, height: int, width: int) -> tuple[InputPlan, Placement]:
        """See `PlansInput`."""
        plan = self.image.plan(height, width, self.preprocessing)
        return plan, plan.where

    def decode(self, outputs: Arrays, context: Placement) -> Detections:
        """Detections in pixels of the image, best score first.

        Raises:
            ArtifactError: an output is absent, has another shape, or holds what is no number.
        """
        return select(self.read(outputs, context), context, self.limits)


@dataclass(frozen=True)
class Setting:
    """How a family sees the image of one model: the input, and its preprocessing with the size of it."""

    image: ImageInput
    preprocessing: Preprocessing

    def cells(self, *strides: int) -> int:
        """How many cells of grids with these strides cover the input."""
        height, width = self.image.height, self.image.width
        return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def find_setting(
    signature: Signature, hints: Hints, usual: Preprocessing, size: tuple[int, int] = (640, 640)
) -> Setting | str:
    """The image input of a model, and its preprocessing; or in words what does not fit.

    usual, size: what the family does where the file says nothing.

    Raises:
        ArtifactError: the metadata of the file contradict its graph.
    """
    preprocessing = hints.preprocessing or usual
    image = find_image_input(signature, preprocessing.size or hints.size, size)
    if isinstance(image, str):
        return image
    return Setting(image, preprocessing.model_copy(update={"size": (image.height, image.width)}))
