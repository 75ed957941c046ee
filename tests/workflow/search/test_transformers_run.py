"""Detectors of transformers: searched, fine-tuned in INT8, packed, and scored as in torch."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.compiler.model.capture import TURNED
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from tests.detectors.sources.transformers_configs import CONFIGS
from tests.workflow.quantized_twin import exported_twin
from tests.workflow.ticket_runs import outcome, recipe_of, stopped_everywhere

LEAST_INT8 = {"yolos": 0.05}
"""Share of the multiplications in convolutions: of YOLOS, those of the patches. Layers over tokens stay float."""


def _recipe(kind: str, **sections: Any) -> Recipe:
    config = {"model_type": kind, **CONFIGS[kind]}
    return recipe_of({"source": "transformers", "config": config, "size": [64, 96]}, **sections)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_its_ticket_and_the_twin_in_int8_are_exported_and_answer_as_torch_does(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    sections = {"pruning": {"levels": [0.8], "structure": "in4"}, "quantization": {"levels": [0.8], "lr": 1e-5}}
    recipe = _recipe(kind, **sections, controls={"random": []})
    run = tmp_path / "run"
    assert find_ticket(smoke_recipe(recipe, tmp_path / "initial.safetensors"), run, device="cpu").finished
    assert sparsity(load_masks(RunDirectory.open(run).trial("level_80").mask)) == pytest.approx(0.8, abs=2e-3)
    made = export(run, level="level_80", out=tmp_path / "float")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    twin, metadata = exported_twin(run, tmp_path / "int8")
    assert metadata.decoder == "detr"
    assert twin.gate.int8_macs is not None
    assert LEAST_INT8.get(kind, 0.5) < twin.gate.int8_macs < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "level"), [("rt_detr_v2", 0.3), ("yolos", 0.15)])
def test_a_ticket_of_whole_filters_is_exported_without_them(kind: str, level: float, tmp_path: Path) -> None:
    pruning = {"levels": [level], "structure": "filter", "allocation": "per_layer"}
    recipe = smoke_recipe(_recipe(kind, pruning=pruning, controls={"random": []}), tmp_path / "initial.safetensors")
    find_ticket(recipe, tmp_path / "run", device="cpu")
    made = export(tmp_path / "run", level=f"level_{100 * level:g}", target=Target(format="dense"), out=tmp_path / "out")
    assert made.gate.parity.passed
    masks = load_masks(RunDirectory.open(tmp_path / "run").trial(f"level_{100 * level:g}").mask)
    dead = {name for name, mask in masks.items() if not mask.reshape(len(mask), -1).any(1).all()}
    assert any(masks[name].ndim == 2 for name in dead)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert {name.removesuffix(TURNED) for name in metadata.removed_channels} == dead


@pytest.mark.slow
def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    short = {"training": {"steps": 3}, "pruning": {"levels": [0.5], "rewind": {"step": 1}}, "controls": {"random": []}}
    recipe = _recipe("rt_detr_v2", **short)
    find_ticket(recipe, tmp_path / "through", device="cpu")
    assert stopped_everywhere(recipe, tmp_path / "parts") > 4
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "through")
