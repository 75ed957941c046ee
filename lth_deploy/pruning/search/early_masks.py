"""Early-bird masks (You et al. 2020, "Drawing Early-Bird Tickets"): what pruning would keep while a network trains.

Every few steps the weights are ranked as those of a finished training are. The masks are kept, and each is compared
with the one before it and, at the end, with the last one.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from lth_deploy import storage
from lth_deploy.mask import BoolArray, Masks, load_masks, save_masks
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.run.directory import append_metrics, read_metrics, truncate_metrics
from lth_deploy.training.hooks import Hook

Rank = Callable[[nn.Module, Sequence[float]], list[Masks]]
"""The masks of each level, from the present weights of a model."""


class RecordEarlyMasks(Hook):
    """Ranks the weights of a training every few steps, and after its last."""

    def __init__(
        self, files: EarlyFiles, model: nn.Module, steps: range, every: int, levels: Sequence[float], rank: Rank
    ) -> None:
        self._files, self._model, self._steps, self._every = files, model, steps, every
        self._levels, self._rank = levels, rank
        self._begun = False

    def before_step(self, step: int) -> None:
        """Drop the records of steps that a resumed training does again."""
        if not self._begun:
            truncate_metrics(self._files.lines, step + 1)
            self._begun = True

    def moments(self, steps: range) -> Iterable[int]:
        """Every few steps, and the end."""
        return (*range(self._every, steps.stop, self._every), steps.stop)

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Save and record the masks when it is time."""
        done = step + 1
        if done % self._every and done != self._steps.stop:
            return
        for level, masks in zip(self._levels, self._rank(self._model, self._levels), strict=True):
            save_masks(self._files.mask(done, level), masks)
            before = [record for record in read_metrics(self._files.lines) if record["level"] == level]
            changed = None
            if before:
                changed = 1 - overlap(masks, load_masks(self._files.mask(before[-1]["step"], level)))
            append_metrics(self._files.lines, {"step": done, "level": level, "changed": changed})

    def finish(self) -> list[Path]:
        """Compare all masks with the last ones, and return every file, to be committed."""
        last = {level: load_masks(self._files.mask(self._steps.stop, level)) for level in self._levels}
        lines = []
        for record in read_metrics(self._files.lines):
            masks = load_masks(self._files.mask(record["step"], record["level"]))
            lines.append(json.dumps({**record, "overlap": overlap(masks, last[record["level"]])}) + "\n")
        storage.write_text(self._files.lines, "".join(lines))
        return [self._files.lines, *self._files.masks()]


def overlap(one: Mapping[str, BoolArray], other: Mapping[str, BoolArray]) -> float:
    """Intersection over union of the weights that two masks of the same layers keep; 1 where both keep none."""
    both = sum(int(np.count_nonzero(mask & other[name])) for name, mask in one.items())
    either = sum(int(np.count_nonzero(mask | other[name])) for name, mask in one.items())
    return both / either if either else 1.0
