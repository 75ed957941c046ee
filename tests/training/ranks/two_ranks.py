"""A program for two ranks: trains the toy network on both, and writes what came of it into a folder."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lth_deploy.errors import DataError, LthError
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.training.hooks import Hook
from lth_deploy.training.ranks.follow import FollowedTraining
from lth_deploy.training.ranks.norms import synchronized_norms
from lth_deploy.training.ranks.process_group import Differing, current_ranks, joined
from lth_deploy.training.session import Session
from lth_deploy.training.state import TrainingState
from lth_deploy.workflow.search.find_ticket import require_same_splits
from tests.pruning.toy_search import build, toy_recipe
from tests.training.ranks.toy import STEPS, SharedBatches, norm_case, quiet, thinned, toy_masks

CPU = torch.device("cpu")
OUT: dict[str, Any] = {}


def messages() -> None:
    """Short and long messages, with tensors and without."""
    ranks = current_ranks()
    sent: list[tuple[dict[str, Any], dict[str, Tensor]]] = [
        ({"do": "step", "rate": 0.1 + 0.2}, {}),
        ({"do": "long", "text": "x" * 5000}, {}),
        ({"do": "tensors"}, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}),
    ]
    for message, tensors in sent:
        if ranks.leads:
            ranks.send(message, tensors)
            seen = json.dumps([message, {name: tensor.tolist() for name, tensor in tensors.items()}], sort_keys=True)
        else:
            got, parts = ranks.receive()
            seen = json.dumps([got, {name: tensor.tolist() for name, tensor in parts.items()}], sort_keys=True)
        ranks.require_same(seen, "rank {rank} got {theirs} instead of {ours}")
    OUT["gathered"] = [data.decode() for data in ranks.gather(b"rank " * ranks.rank)]


def refusals() -> None:
    """What differs between ranks is one error on rank 0."""
    ranks = current_ranks()

    def splits(count: int) -> Any:
        return {"train": SimpleNamespace(images=[0] * count, digest=lambda: f"{count:08d}")}

    OUT["data"] = said(lambda: require_same_splits(splits(4 - ranks.rank)))
    unread = None if ranks.leads else DataError("no such file: train.json\nof the recipe")
    OUT["no data"] = said(lambda: require_same_splits(splits(4) if ranks.leads else {}, unread))


def said(act: Callable[[], object]) -> str:
    """The error that `act` ends with."""
    try:
        act()
    except LthError as error:
        return f"{type(error).__name__}: {error}"
    except Differing:
        return "rank 0 has the error"
    return ""


def norms() -> None:
    """One norm over the images of both ranks."""
    rank = current_ranks().rank
    norm, values, wanted = norm_case()
    own = values[rank::2].clone().requires_grad_()
    with synchronized_norms(norm):
        result = norm(own)
        (result * wanted[rank::2]).sum().backward()
    assert "forward" not in vars(norm)
    OUT["norm"] = {
        "result": result.tolist(),
        "gradient": own.grad.tolist(),
        "weight": norm.weight.grad.tolist(),
        "mean": norm.running_mean.tolist(),
        "variance": norm.running_var.tolist(),
    }


def train(
    name: str, folder: Path, *, masks: Mapping[str, Tensor], hooks: Callable[[Any, Session], list[Hook]], **spec: Any
) -> None:
    """Train the quiet toy network over both ranks, and keep the weights of each."""
    ranks, training = current_ranks(), toy_recipe(training=spec).training
    if ranks.leads:
        model = quiet(3)
        session = Session(training, CPU, model, Trial(RunDirectory(folder / name), "trial"), masks)
        for hook in hooks(model, session):
            session.add(hook)
        start = TrainingState.capture(0, model)
        OUT[f"{name} error"] = said(lambda: session.run(start, range(STEPS), lambda step: 0.05, SharedBatches()))
        if not ranks.working:
            ranks.send({"do": "end"})
    else:
        model = follow(training, name == "wrong mask")
    torch.save(model.state_dict(), folder / f"{name} {ranks.rank}.pt")


def follow(training: Any, damage: bool) -> Any:
    """What rank 1 does, without a recipe."""
    ranks = current_ranks()
    message, tensors = ranks.receive()
    followed = FollowedTraining(training, CPU, quiet(3), SharedBatches().part(1, 2), message)
    followed.begin(tensors)
    while (received := ranks.receive())[0]["do"] != "end":
        kind = received[0]["do"]
        if kind == "step":
            followed.step(received[0])
        elif kind == "prune":
            followed.prune(received[1])
        elif kind == "rewind":
            followed.rewind(received[1])
        else:
            if damage:
                followed._masks["stem.weight"].view(-1)[0] ^= True
            with suppress(Differing):
                followed.compare_masks()
    followed.end()
    return followed._model


class PruneAt(Hook):
    """Prunes in the middle of a training, as gradual schedules do."""

    def __init__(self, session: Session, step: int, masks: Mapping[str, Tensor], rewind: bool = False) -> None:
        self._session, self._step, self._new = session, step, masks
        self._start = session.capture(0) if rewind else None

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Prune when it is time."""
        if step + 1 == self._step:
            self._session.prune(self._new)
            if self._start is not None:
                self._session.rewind(self._start)


def main(folder: Path) -> None:
    """All of it, in one process of each rank."""
    torch.set_num_threads(1)
    with joined(gpus=False) as ranks:
        messages()
        refusals()
        norms()
        masks, none = toy_masks(build(0)), lambda model, session: []
        for precision in ("sgd", "adamw"):
            train(precision, folder, masks=masks, hooks=none, optimizer={"name": precision}, sync_norms=True)
        train("own norms", folder, masks=masks, hooks=none)
        gradual = lambda model, session: [PruneAt(session, 3, thinned(masks))]  # noqa: E731
        train("gradual", folder, masks=masks, hooks=gradual, sync_norms=True)
        train("parts", folder, masks=masks, hooks=none, accumulate=2, precision="bf16")
        progressive = lambda model, session: [PruneAt(session, STEPS, thinned(masks), rewind=True)]  # noqa: E731
        train("progressive", folder, masks=masks, hooks=progressive)
        train("wrong mask", folder, masks=masks, hooks=none)
        if ranks.leads:
            (folder / "out.json").write_text(json.dumps(OUT))
        else:
            (folder / "norm 1.json").write_text(json.dumps(OUT["norm"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
