"""Where a dense trial keeps the masks that were taken while it trained, and what is said of them."""

from dataclasses import dataclass
from pathlib import Path

from lth_deploy.pruning.search.plan import level_name
from lth_deploy.run.directory import Trial, read_metrics


@dataclass(frozen=True)
class EarlyFiles:
    """Where a dense trial keeps its early masks, and what is said of them as JSON lines."""

    trial: Trial

    @property
    def lines(self) -> Path:
        """A record a step and level: the share that `changed` since the one before, and `overlap` with the last."""
        return self.trial.path / "early_masks.jsonl"

    def mask(self, step: int, level: float) -> Path:
        """The masks of one level after `step` steps."""
        return self.trial.path / "early" / f"{level_name('level', level)}-step_{step}.safetensors"

    def masks(self) -> list[Path]:
        """All mask files that the records name."""
        return [self.mask(record["step"], record["level"]) for record in read_metrics(self.lines)]
