"""`--smoke` cuts any recipe down to two steps, however many steps its schedule counts."""

from pathlib import Path
from typing import Any

import pytest

from tests.workflow.ticket_runs import tiny_recipe

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.errors import DataError
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe


def test_weights_that_are_not_there_are_refused_as_in_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tiny_recipe(detector={"weights": str(tmp_path / "gone.safetensors")})
    with pytest.raises(DataError, match=r"gone\.safetensors: no such weights file") as smoked:
        smoke_recipe(gone, tmp_path / "initial.safetensors")
    with pytest.raises(DataError) as searched:
        find_ticket(gone, tmp_path / "run", device="cpu")
    assert str(smoked.value) == str(searched.value)
    assert not (tmp_path / "initial.safetensors").exists()
    # Where a variable is not set, a smoke run does without the file, as it does without the data.
    monkeypatch.delenv("LTH_WEIGHTS", raising=False)
    smoke_recipe(tiny_recipe(detector={"weights": "${LTH_WEIGHTS}/w.pth"}), tmp_path / "initial.safetensors")
    (tmp_path / "there.pth").write_bytes(b"")
    smoke_recipe(tiny_recipe(detector={"weights": str(tmp_path / "there.pth")}), tmp_path / "initial.safetensors")


@pytest.mark.parametrize(
    "pruning",
    [
        {"schedule": "progressive"},
        {"schedule": "progressive", "progressive": {"rounds": 9, "begin": 0.4, "rewind": False}},
        {"schedule": "cubic", "cubic": {"every": 20}},
        {"early_masks": {"every": 20, "take": 40}},
    ],
)
def test_schedules_of_many_steps_run_in_two(pruning: dict[str, Any], tmp_path: Path) -> None:
    recipe = tiny_recipe(training={"steps": 100}, pruning={"levels": [0.5], **pruning}, controls={"random": []})
    small = smoke_recipe(recipe, tmp_path / "initial.safetensors")
    small = small.model_copy(update={"controls": small.controls.model_copy(update={"random": []})})
    assert find_ticket(small, tmp_path / "run", device="cpu").finished
    masks = load_masks(RunDirectory.open(tmp_path / "run").trial("level_50").mask)
    assert sparsity(masks) == pytest.approx(0.5, abs=1e-3)
