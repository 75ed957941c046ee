"""Detectors of libreyolo: searched, resumed, quantized, packed, and scored as in torch."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
pytest.importorskip("libreyolo", reason="the extra 'zoo' is not installed")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from tests.workflow.quantized_twin import exported_twin
from tests.workflow.ticket_runs import outcome, recipe_of, stopped_everywhere

EXTRA: dict[str, dict[str, Any]] = {"yolox_nano": {"l1_loss": True}, "yolov9_t": {"auxiliary": 0.25}}
"""What each is trained with beside the usual losses."""


def _recipe(model: str, **sections: Any) -> Recipe:
    detector = {"source": "libreyolo", "model": model, "size": [64, 64], "score_threshold": 0.0, **EXTRA[model]}
    return recipe_of(detector, **sections)


@pytest.fixture(scope="module", params=["yolox_nano", pytest.param("yolov9_t", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    original = _recipe(
        request.param, pruning={"levels": [0.8], "structure": "in4"}, quantization={"levels": [0.8], "lr": 1e-5}
    )
    assert find_ticket(smoke_recipe(original, folder / "initial.safetensors"), folder / "run", device="cpu").finished
    return folder / "run"


def test_its_ticket_is_exported_and_answers_as_torch_does(run: Path, tmp_path: Path) -> None:
    assert sparsity(load_masks(RunDirectory.open(run).trial("level_80").mask)) == pytest.approx(0.8, abs=2e-3)
    made = export(run, level="level_80", out=tmp_path)
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.decoder == ("yolox" if "yolox" in str(run) else "yolo")


def test_its_quantized_twin_is_exported_with_the_ranges_that_it_learned(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    made, _ = exported_twin(run, tmp_path)
    assert made.gate.int8_macs == pytest.approx(1.0)


def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    short = {"training": {"steps": 3}, "pruning": {"levels": [0.5], "rewind": {"step": 1}}, "controls": {"random": []}}
    recipe = _recipe("yolox_nano", **short)
    find_ticket(recipe, tmp_path / "through", device="cpu")
    assert stopped_everywhere(recipe, tmp_path / "parts") > 4
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "through")


FILTERS: dict[str, Any] = {
    "pruning": {"levels": [0.3], "structure": "filter", "allocation": "per_layer"},
    "controls": {"random": []},
}


def test_a_ticket_of_whole_filters_is_exported_without_them(tmp_path: Path) -> None:
    recipe = smoke_recipe(_recipe("yolox_nano", **FILTERS), tmp_path / "initial.safetensors")
    find_ticket(recipe, tmp_path / "run", device="cpu")
    made = export(tmp_path / "run", level="level_30", target=Target(format="dense"), out=tmp_path / "out")
    assert made.gate.parity.passed
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert len(metadata.removed_channels) > 50


@pytest.mark.slow
def test_a_ticket_of_whole_filters_that_was_fine_tuned_as_int8_loses_them_too(tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    recipe = _recipe("yolox_nano", **FILTERS, quantization={"levels": [0.3], "lr": 1e-5})
    find_ticket(smoke_recipe(recipe, tmp_path / "initial.safetensors"), tmp_path / "run", device="cpu")
    made, metadata = exported_twin(tmp_path / "run", tmp_path / "out", "level_30_int8")
    assert len(metadata.removed_channels) > 50
    assert made.gate.int8_macs == pytest.approx(1.0)
