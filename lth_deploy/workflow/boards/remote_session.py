"""A model on a board as an artifact of this process: outputs are decoded here, and images prepared here or there.

So every decoder of the package works, and a board's detections are those of its own outputs.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.boards.board import Board
from lth_deploy.boards.engines import ONNXRUNTIME, Opened
from lth_deploy.boards.image_files import ImageFile
from lth_deploy.decoders import Photo
from lth_deploy.detections import Detections
from lth_deploy.errors import ArtifactError, BoardError, LinkLostError
from lth_deploy.run_clock import TimedRun
from lth_deploy.workflow.artifact import Artifact
from lth_deploy.workflow.boards.images_there import ImagesThere

if TYPE_CHECKING:
    from lth_deploy.data.records import ImageRecord

IMAGE = "image"
"""The slot of the image that is being looked at."""

# The clock of a process is one for all its threads, each of which may serve a host.
_decoding = threading.Lock()


@dataclass(frozen=True)
class RemoteSession:
    """A session on a board. ranks: of outputs, where the engine knows no batches and may leave out their dimension."""

    board: Board
    opened: Opened
    ranks: Mapping[str, int | None] = field(default_factory=dict)

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name.

        Raises:
            BoardError: the board cannot run the model, or is gone for good.
            ArtifactError: an engine that is none of ours refuses the file or fails on these feeds.
        """
        return self.run_on(feeds)

    def run_on(self, content: Feeds | ImageFile) -> Arrays:
        """All outputs by name; an image file is read on the board.

        Raises:
            BoardError, ArtifactError: see `run`.
        """
        self.board.fill(IMAGE, content)
        try:
            found = self.board.run(self.opened, IMAGE)[0]
        except LinkLostError:
            raise
        except BoardError as error:
            if self.opened.engine == ONNXRUNTIME:
                raise
            self.board.rest()  # the engine may have ended the consumer
            raise ArtifactError(str(error)) from error
        return {
            name: value[None] if name in self.ranks and self.ranks[name] != value.ndim else value
            for name, value in found.items()
        }

    def describe(self) -> dict[str, str]:
        """See `Session`."""
        name, kernels = ("lth_deploy", f" with kernels {version('lth-deploy')}") if self.opened.library else ("", "")
        engine = f"{self.board.engine(self.opened.engine)}{kernels}"
        return {"name": name or self.opened.engine, "version": engine, "threads": str(self.opened.threads)}


@dataclass(frozen=True)
class RemoteArtifact(Artifact):
    """A model file whose session is on a board. images: that the board reads itself; None where this process does."""

    images: ImagesThere | None = None

    def predict(self, image: Photo) -> Detections:
        """See `Artifact`; the time on the board has limits of its own."""
        feeds, context = self.file.decoder.prepare(image)
        return self._decoded(self.session.run(feeds), context)

    def predict_record(self, record: "ImageRecord") -> Detections:
        """See `Artifact`."""
        if self.images is None:
            return super().predict_record(record)
        assert isinstance(self.session, RemoteSession)
        file, context = self.images.input_of(self.file.decoder, record)
        return self._decoded(self.session.run_on(file), context)

    def _decoded(self, outputs: Arrays, context: Any) -> Detections:
        with _decoding, TimedRun():
            return self.file.decoder.decode(outputs, context)
