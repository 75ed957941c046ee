"""A search on all ranks that torchrun started: rank 0 carries it out, and the others follow."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lth_deploy import progress
from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import LthError, UsageError
from lth_deploy.run.directory import versions
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.find_ticket import (
    batches_of,
    build_model,
    pick_device,
    require_same_splits,
)
from lth_deploy.workflow.search.splits import read_splits

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lth_deploy.data.batches.loader import Batches
    from lth_deploy.data.coco.load import CocoDataset
    from lth_deploy.training.ranks.follow import FollowedTraining

Result = TypeVar("Result")


def on_all_ranks(recipe: Recipe, device: str, search: Callable[[bool], Result]) -> Result | None:
    """Call `search` on rank 0, and do its share of the work on the others, which get None.

    `search` takes whether torchrun has started the ranks again after one of them ended. Without torchrun this process
    is the only rank.

    Raises:
        UsageError: the ranks do not meet, or were given different recipes or versions.
        TrainingError: another rank ended.
        SystemExit: on other ranks: rank 0 failed.
    """
    # torch warns on each rank, in each trial, that no parameter went without a gradient this time.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    require_torch("finding tickets")
    from lth_deploy.training.ranks.process_group import joined

    chosen = pick_device(device)
    with joined(gpus=chosen.type == "cuda") as ranks:
        if not ranks.shared:
            return search(ranks.restarted)
        if ranks.leads:
            with ranks.leading():
                _require_same_start(recipe)
                return search(ranks.restarted)
        _be_quiet()
        follower = _Follower(chosen)
        with ranks.following():
            try:
                code = follower.run(recipe)
            finally:
                follower.end_training()
        if code:
            raise SystemExit(code)
        return None


def _require_same_start(recipe: Recipe) -> None:
    from lth_deploy.training.ranks.process_group import current_ranks

    used = ", ".join(f"{package} {version}" for package, version in versions().items())
    fault = "rank {rank} has {theirs}, and rank 0 has {ours}; start all ranks with the same file, options and versions"
    current_ranks().require_same(f"a recipe of digest {recipe.digest():.12} and {used}", fault, UsageError)


def _be_quiet() -> None:
    """Rank 0 says everything once; a rank that waits for messages can end at any moment."""
    logging.getLogger("lth_deploy").setLevel(logging.ERROR)
    progress.show(progress.Lines())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class _Follower:
    """Does what rank 0 says until it ends."""

    def __init__(self, device: "torch.device") -> None:
        self._device = device
        self._training: FollowedTraining | None = None

    def run(self, recipe: Recipe) -> int:
        """Follow a search that was started with `recipe`, and return the exit code of rank 0."""
        from lth_deploy.training.ranks.process_group import Differing, current_ranks

        with suppress(Differing):
            _require_same_start(recipe)
        while True:
            message, tensors = current_ranks().receive()
            if message["do"] == "end":
                return int(message["code"])
            with suppress(Differing):
                self._do(message, tensors)

    def _do(self, message: dict[str, Any], tensors: "dict[str, Tensor]") -> None:
        kind = message["do"]
        if self._training is not None and kind in ("step", "prune", "rewind", "compare_masks"):
            self._follow(self._training, message, tensors)
            return
        self.end_training()
        {"begin": self._begin, "train": self._train, "detect": self._detect}[kind](message, tensors)

    def _begin(self, message: dict[str, Any], _: "dict[str, Tensor]") -> None:
        """Read the data of a search."""
        self._recipe = Recipe.model_validate(message["recipe"])
        files = {name: (Path(annotations), Path(images)) for name, (annotations, images) in message["files"].items()}
        self._splits: dict[str, CocoDataset] = {}
        self._batches: Batches | None = None
        unread: LthError | None = None
        try:
            self._splits = read_splits(self._recipe, files)
        except LthError as error:  # rank 0 says it, with the number of this rank
            unread = error
        require_same_splits(self._splits, unread)

    def _train(self, message: dict[str, Any], tensors: "dict[str, Tensor]") -> None:
        from lth_deploy.training.ranks.follow import FollowedTraining
        from lth_deploy.training.ranks.process_group import current_ranks

        ranks = current_ranks()
        if self._batches is None:
            self._batches = batches_of(self._recipe, self._splits["train"], self._device).part(ranks.rank, ranks.size)
        self._training = FollowedTraining(self._recipe.training, self._device, self._fresh(), self._batches, message)
        self._training.begin(tensors)

    def _follow(self, training: "FollowedTraining", message: dict[str, Any], tensors: "dict[str, Tensor]") -> None:
        if message["do"] == "step":
            training.step(message)
        elif message["do"] == "prune":
            training.prune(tensors)
        elif message["do"] == "rewind":
            training.rewind(tensors)
        else:
            training.compare_masks()

    def _detect(self, message: dict[str, Any], tensors: "dict[str, Tensor]") -> None:
        """Find the objects in this rank's share of a split."""
        from lth_deploy.training.quantization import restored
        from lth_deploy.training.session import in_layout
        from lth_deploy.training.state import TrainingState
        from lth_deploy.workflow.search.torch_detect import detect_own_share

        model = restored(self._fresh(), TrainingState(0, tensors)).to(self._device)
        in_layout(model, self._recipe.training)
        detect_own_share(model, self._splits[message["split"]], self._device, message["batch_size"])

    def _fresh(self) -> "nn.Module":
        return build_model(self._recipe, self._splits["train"], self._recipe.training.seed, False)

    def end_training(self) -> None:
        """Leave the training of the last trial, if one is under way."""
        if self._training is not None:
            self._training.end()
            self._training = None
