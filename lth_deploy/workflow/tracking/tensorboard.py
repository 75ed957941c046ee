"""TensorBoard: losses, learning rate, AP and zeros as scalars, detections on example images as images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lth_deploy.config.tracking_spec import TensorBoardSpec
from lth_deploy.errors import MissingExtraError
from lth_deploy.run.callbacks import Callback
from lth_deploy.run.summary import RunSummary
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.workflow.tracking.figures import plain, scores_of, shares_of


def tracker(spec: TensorBoardSpec, run: Path) -> Callback:
    """Event files in `spec.folder`, or in RUN/tensorboard.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard", "tracking.tensorboard") from error
    return TensorBoard(Path(spec.folder) if spec.folder else run / "tensorboard")


class TensorBoard(Callback):
    """One series of events for each trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._steps: dict[str, int] = {}

    def prune(self, trial: str, step: int, zeros: Mapping[str, float]) -> None:
        """Zeros of each layer."""
        for layer, share in zeros.items():
            self._writer(trial).add_scalar(f"zeros/{plain(layer)}", 100 * share, step)

    def epoch(self, trial: str, epoch: float, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Losses and learning rate."""
        writer = self._writer(trial)
        for name, value in losses.items():
            writer.add_scalar(f"loss/{plain(name)}", value, step)
        if losses:
            writer.add_scalar("loss/total", sum(losses.values()), step)
        writer.add_scalar("learning_rate", rate, step)
        writer.flush()

    def level(self, result: TrialResult) -> None:
        """AP and shares at the last step of a trial."""
        writer = self._writer(result.name)
        for name, value in {**scores_of(result), **shares_of(result)}.items():
            writer.add_scalar(plain(name), value, result.steps[1])
        writer.close()
        self._writers.pop(result.name, None)

    def end(self, run: Path, summary: RunSummary) -> None:
        """The example images of the run, with the detections of the dense control and of the ticket."""
        from lth_deploy.data.images import read_image

        writer = self._writer("examples")
        for number, image in enumerate(summary.pictures):
            file = (run / image.path).resolve()
            if file.is_relative_to(run.resolve()):
                writer.add_image(f"detections/{number}", read_image(file), 0, dataformats="HWC")
        for one in self._writers.values():
            one.close()
        self._writers.clear()

    def _writer(self, trial: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if trial not in self._writers:
            self._writers[trial] = SummaryWriter(str(self._folder / trial))
        return self._writers[trial]
