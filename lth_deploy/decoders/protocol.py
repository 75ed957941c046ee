"""What a decoder must offer."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lth_deploy.detections import Detections
from lth_deploy.registry import Registry

Photo = npt.NDArray[np.uint8]
"""An image as uint8 [H, W, 3], RGB."""

Feeds = dict[str, np.ndarray[Any, Any]]
Outputs = dict[str, np.ndarray[Any, Any]]


@runtime_checkable
class Decoder(Protocol):
    """Stateless; one object serves all images and threads.

    class_names: what labels 1..C mean where the model's family fixes it; None when the artifact says it.
    """

    class_names: tuple[str, ...] | None

    def prepare(self, image: Photo) -> tuple[Feeds, Any]:
        """Model inputs for `image`, and whatever `decode` needs to know about it."""

    def decode(self, outputs: Outputs, context: Any) -> Detections:
        """Detections in pixels of the image, best score first."""


DECODERS: Registry[Decoder] = Registry("decoder")
