"""A model on a board as an artifact of this process: images are prepared and outputs decoded here.

So every decoder of the package works, and a board's detections are those of its own outputs, not of a second
implementation of resizing, JPEG and suppression.
"""

import threading
from dataclasses import dataclass
from importlib.metadata import version

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.boards.board import Board, Opened
from lth_deploy.decoders import Photo
from lth_deploy.detections import Detections
from lth_deploy.run_clock import TimedRun
from lth_deploy.workflow.artifact import Artifact

STOCK = ("onnxruntime", "")
IMAGE = "image"
"""The slot of the image that is being looked at."""

# The clock of a process is one for all its threads, each of which may serve a host.
_decoding = threading.Lock()


@dataclass(frozen=True)
class RemoteSession:
    """A session on a board."""

    board: Board
    opened: Opened

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name.

        Raises:
            BoardError: the board cannot run the model, or is gone for good.
        """
        self.board.fill(IMAGE, feeds)
        return self.board.run(self.opened, IMAGE)[0]

    def describe(self) -> dict[str, str]:
        """See `Session`."""
        name, kernels = ("lth_deploy", f" with kernels {version('lth-deploy')}") if self.opened.library else STOCK
        engine = f"{self.board.hello().onnxruntime}{kernels}"
        return {"name": name, "version": engine, "threads": str(self.opened.threads)}


@dataclass(frozen=True)
class RemoteArtifact(Artifact):
    """A model file whose session is on a board."""

    def predict(self, image: Photo) -> Detections:
        """See `Artifact`; the time on the board has limits of its own."""
        feeds, context = self.file.decoder.prepare(image)
        outputs = self.session.run(feeds)
        with _decoding, TimedRun():
            return self.file.decoder.decode(outputs, context)
