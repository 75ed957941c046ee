"""`find-ticket --plan` says what a search will do, as the search then does it, and leaves nothing behind."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.errors import DataError, RecipeError  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.training.saved_bytes import saved_bytes  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket  # noqa: E402
from lth_deploy.workflow.search.search_plan import plan_search  # noqa: E402
from tests.workflow.search.ranks_search import ranks_recipe  # noqa: E402
from tests.workflow.ticket_runs import REWIND, STEPS, tiny_recipe  # noqa: E402


def test_the_plan_is_what_the_search_does(tmp_path: Path) -> None:
    recipe = ranks_recipe()
    planned = plan_search(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    find_ticket(recipe, tmp_path / "run", device="cpu")
    run = RunDirectory.open(tmp_path / "run")
    done = {trial.name: trial.read_result().steps for trial in run.finished_trials()}
    assert {one.name: one.steps for one in planned.trials} == {name: end - begin for name, (begin, end) in done.items()}
    assert planned.steps == STEPS + 2 * (STEPS - REWIND) + 4
    assert planned.batches_per_epoch == 3
    assert planned.trials[0].epochs == pytest.approx(STEPS / 3)
    kept = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*.safetensors"))
    assert 0.8 * kept < planned.disk < 2 * kept


def test_memory_of_a_device_shrinks_with_the_images_that_it_computes(tmp_path: Path) -> None:
    recipe = ranks_recipe(training={"batch_size": 8, "optimizer": {"name": "adamw"}}, data={"shapes": {"train": 9}})
    one, eight = plan_search(recipe, tmp_path).memory
    assert (one.ranks, one.images, eight.ranks, eight.images) == (1, 8, 8, 1)
    assert one.activations == 8 * (eight.activations or 0) > 0
    weights = 4 * sum(value.numel() for value in _parameters(recipe))
    assert 4 * weights <= one.fixed < 4 * weights + 2000, "weights, gradients and two moments"
    assert eight.fixed == one.fixed + weights


def _parameters(recipe: object) -> list[torch.Tensor]:
    from lth_deploy.detectors import build_detector

    return list(build_detector(recipe.detector, 3, 4, load_weights=False).parameters())  # type: ignore[attr-defined]


def test_what_a_pass_keeps_is_counted_once() -> None:
    """A convolution and a ReLU keep the input, the weight, which is not counted, and the result, which both share."""

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 1)

        def forward(self, images: list[torch.Tensor], targets: object) -> dict[str, torch.Tensor]:
            return {"loss": torch.relu(self.conv(images[0][None])).sum()}

    pixels = 16 * 24
    assert saved_bytes(Small(), (16, 24), None) == 4 * pixels * (3 + 8)


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    split = {"annotations": str(tmp_path / "no.json"), "images": str(tmp_path)}
    with pytest.raises(DataError, match=r"no\.json"):
        plan_search(tiny_recipe(data={"format": "coco", "train": split, "val": split}), tmp_path)
    with pytest.raises(RecipeError, match=r"pruning\.rewind: step 7 is not before the end"):
        plan_search(tiny_recipe(pruning={"rewind": {"step": 7}}), tmp_path)
