"""What a decoder and a family of decoders must offer."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.decoders.image.preprocessing import Preprocessing
from lth_deploy.decoders.model.hints import Hints
from lth_deploy.decoders.model.signature import Signature
from lth_deploy.detections import Detections
from lth_deploy.registry import Registry

Photo = npt.NDArray[np.uint8]
"""An image as uint8 [H, W, 3], RGB."""


@runtime_checkable
class Decoder(Protocol):
    """Stateless; one object serves all images and threads."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """What labels 1..C mean; None where the model does not say it, or its artifact does."""

    def prepare(self, image: Photo) -> tuple[Feeds, Any]:
        """Model inputs for `image`, and whatever `decode` needs to know about it."""

    def decode(self, outputs: Arrays, context: Any) -> Detections:
        """Detections in pixels of the image, best score first."""


class FamilyDecoder(Decoder, Protocol):
    """A decoder that a family made for one model."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """Of the image; None where the model does it itself."""

    @property
    def options(self) -> Mapping[str, str]:
        """What else its family has to know to make it again."""


class Family(Protocol):
    """Detectors of one kind of outputs."""

    @property
    def name(self) -> str:
        """What --decoder and metadata call it."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it decodes, in words with shapes."""

    def fit(self, signature: Signature, hints: Hints) -> FamilyDecoder | str:
        """A decoder for a model with this signature; or in words what does not fit.

        hints: what the file itself says of its classes, sizes and preprocessing.
        """


DECODERS: Registry[Family] = Registry("decoder")
