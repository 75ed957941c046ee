"""The examples of docs/own_trainer.md run as they are printed, with the real packages where these are installed."""

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from torch import nn  # noqa: E402

import lth_deploy  # noqa: E402
from tests.training.held.small import batch, loss_of, masks_for, network, require_zeros  # noqa: E402

PAGE = Path(__file__).parents[3] / "docs" / "own_trainer.md"
BLOCK = re.compile(r"^```python ?(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def example(name: str, **names: Any) -> dict[str, Any]:
    """Run the example called `name`, with `names` given; what it defines."""
    code = {match[1] or "plain": match[2] for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}[name]
    space = {"lth_deploy": lth_deploy, "torch": torch, **names}
    exec(compile(code, f"{PAGE.name}: {name}", "exec"), space)
    return space


def optimizer_of(model: nn.Module) -> Any:
    """SGD with what moves weights that get no gradient."""
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def test_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pruned, masks, model = network(), masks_for(network()), network(1)
    with lth_deploy.hold(pruned, None, masks):
        torch.save(pruned.state_dict(), "pruned.pth")
    example("plain", model=model, optimizer=optimizer_of(model), loader=[batch(step) for step in range(4)])
    require_zeros(model, masks)


def test_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network()
    space = example("search", model=model, batch=batch, evaluate=lambda one: 0.5)
    assert space["result"].finished
    require_zeros(model, space["masks"])


class Learner(nn.Module):
    """The small network as transformers calls it: keyword arguments, and a dictionary with the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, inputs: Any, labels: Any) -> dict[str, Any]:
        return {"loss": ((self.body(inputs) - labels) ** 2).mean()}


def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")
    model, dataset = Learner(), [{"inputs": batch(step)[0][0], "labels": batch(step)[1][0]} for step in range(8)]
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=6, per_device_train_batch_size=4, learning_rate=0.01, weight_decay=0.5, use_cpu=True,
        report_to=[], save_strategy="no", disable_tqdm=True, gradient_accumulation_steps=2,
    )  # fmt: skip
    masks = masks_for(model)
    names = {"Trainer": transformers.Trainer, "TrainerCallback": transformers.TrainerCallback}
    space = example("transformers", model=model, dataset=dataset, masks=masks, arguments=arguments, **names)
    assert space["trainer"].state.global_step == 6
    require_zeros(model, masks)


def test_a_hook_of_detectron2() -> None:
    engine = pytest.importorskip("detectron2.engine", reason="detectron2 is built from source")

    class Detector(Learner):
        """Losses of one batch."""

        def forward(self, inputs: Any, labels: Any = None) -> dict[str, Any]:
            return {"fit": loss_of(self.body, inputs)}

    model = Detector()
    masks = masks_for(model)
    trainer = engine.SimpleTrainer(model.train(), list(range(8)), optimizer_of(model))
    trainer._write_metrics = lambda *_, **__: None  # its storage of events is not what is looked at
    example("detectron2", HookBase=engine.HookBase, trainer=trainer, masks=masks)
    assert trainer.iter == 4
    require_zeros(model, masks)


class Lightning:
    """The order in which Lightning calls a callback, as its documentation has it; the package is not needed."""

    def __init__(self, model: nn.Module, callback: Any) -> None:
        self.model, self.callback, self.optimizers = model, callback, [optimizer_of(model)]

    def fit(self, steps: int, fails_at: int | None = None) -> None:
        """Train, and report an exception as Lightning does."""
        self.callback.on_train_start(self, self.model)
        try:
            for step in range(steps):
                if step == fails_at:
                    raise ZeroDivisionError
                self.optimizers[0].zero_grad()
                loss_of(self.model, step).backward()
                self.optimizers[0].step()
        except ZeroDivisionError as error:
            self.callback.on_exception(self, self.model, error)
            raise
        self.callback.on_train_end(self, self.model)


def test_a_callback_of_lightning() -> None:
    model, masks = network(), masks_for(network())
    callback = example("lightning")["HoldMasks"](masks)
    Lightning(model, callback).fit(4)
    require_zeros(model, masks)
    trainer = Lightning(model, callback)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(4, fails_at=2)
    assert not trainer.optimizers[0]._optimizer_step_post_hooks
