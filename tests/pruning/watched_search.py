"""The toy search, watched: which steps ran, from which weights, and an end at any moment."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from tests.pruning.toy_search import ToyBatches, build, toy_search


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


class Spy(ToyBatches):
    """Notes which steps run and what the trained model holds before each; `on_call` may end the run."""

    def __init__(self, on_call: Callable[[int], None] = lambda call: None) -> None:
        self.steps: list[int] = []
        self.models: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self._on_call = on_call

    def build(self, seed: int, pretrained: bool) -> Any:
        self.models.append(build(seed, pretrained))
        return self.models[-1]

    def batch(self, step: int) -> Any:
        self._on_call(len(self.steps))
        self.steps.append(step)
        self.seen.append({name: value.clone() for name, value in self.models[-1].state_dict().items()})
        return super().batch(step)

    def starts(self) -> list[dict[str, Any]]:
        """What each training began with: wherever the step does not follow the one before."""
        begins = [i for i, step in enumerate(self.steps) if i == 0 or step != self.steps[i - 1] + 1]
        return [self.seen[i] for i in begins]


def dies_at(last: int) -> Callable[[int], None]:
    """Ends the run when so many batches were fetched."""

    def die(call: int) -> None:
        if call == last:
            raise Killed

    return die


def outcome(path: Path) -> dict[str, str]:
    """Digest of every mask and weight file and the rewind state, metrics included."""
    files = sorted(
        [*path.glob("trials/*/*.safetensors"), *path.glob("trials/*/metrics.jsonl"), path / "rewind.safetensors"]
    )
    return {str(file.relative_to(path)): storage.sha256(file) for file in files}


def finish_though_killed(path: Path, recipe: Recipe, last: int) -> dict[str, str]:
    """The outcome of a run that is killed and resumed until it ends; each attempt fetches at most `last` batches."""
    for _ in range(100):
        spy = Spy(dies_at(last))
        with contextlib.suppress(Killed):
            return finish(path, recipe, batches=spy, build=spy.build)
    raise AssertionError("the run makes no progress")


def finish(path: Path, recipe: Recipe, **changes: Any) -> dict[str, str]:
    toy_search(path, recipe, **changes).execute()
    return outcome(path)
