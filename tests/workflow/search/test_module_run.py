"""A detector of the user's own: searched, resumed, quantized, packed, and scored as in torch."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.recipe import Recipe
from lth_deploy.data.images import read_image
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.errors import ParityError, RecipeError, UsageError
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.pruning.search.plan import level_name
from lth_deploy.run.directory import RunDirectory
from lth_deploy.structures import GROUPS, STRUCTURES
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.gates.folding import hold_folding
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from lth_deploy.workflow.search.splits import load_splits
from lth_deploy.workflow.search.trained_model import trained_model
from tests.detectors.sources.user_detectors import module_detector
from tests.workflow.quantized_twin import exported_twin
from tests.workflow.ticket_runs import outcome, recipe_of, stopped_everywhere


def _recipe(function: str = "ssd", **sections: Any) -> Recipe:
    return recipe_of(module_detector(function), **sections)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    original = _recipe(pruning={"levels": [0.8], "structure": "in4"}, quantization={"levels": [0.8], "lr": 1e-5})
    assert find_ticket(smoke_recipe(original, folder / "initial.safetensors"), folder / "run", device="cpu").finished
    return folder / "run"


def test_its_ticket_is_exported_and_answers_as_torch_does(run: Path, tmp_path: Path) -> None:
    assert sparsity(load_masks(RunDirectory.open(run).trial("level_80").mask)) == pytest.approx(0.8, abs=2e-3)
    made = export(run, level="level_80", out=tmp_path)
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.decoder == "lth"
    assert [one.name for one in metadata.classes] == ["circle", "square", "triangle"]
    assert any(name.startswith("backbone.convs.") for name in metadata.positions)
    pixels = read_image(next(iter(sorted((run / "data" / "val").iterdir()))))
    assert len(open_artifact(made.artifact).predict(pixels[:70])) > 0


def test_its_quantized_twin_is_exported_with_the_ranges_that_it_learned(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    made, _ = exported_twin(run, tmp_path)
    assert made.gate.int8_macs == pytest.approx(1.0)


def test_a_fault_in_folding_its_norms_is_seen(run: Path) -> None:
    recipe = RunDirectory.open(run).recipe()
    dataset = load_splits(recipe, run)["val"]
    trained = trained_model(recipe, RunDirectory.open(run).trial("level_80"), dataset)
    folded = fold_norm(trained)
    assert folded.kept == ()
    hold_folding(trained, folded.module, dataset)
    folded.module.get_parameter("backbone.convs.2.weight").data *= 1.05
    with pytest.raises(ParityError, match=r"folding the norms changes 'backbone\.convs\.2'"):
        hold_folding(trained, folded.module, dataset)


def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    recipe = _recipe(pruning={"levels": [0.5]}, controls={"random": []})
    find_ticket(recipe, tmp_path / "through", device="cpu")
    assert stopped_everywhere(recipe, tmp_path / "parts") > 4
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "through")


def test_what_no_graph_can_hold_is_said_at_export(tmp_path: Path) -> None:
    recipe = _recipe("untraceable", pruning={"levels": [0.5]}, controls={"random": []})
    find_ticket(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="cannot be exported to ONNX: RuntimeError: a step that no graph can hold"):
        export(tmp_path / "run", level="level_50")


@pytest.mark.parametrize(
    ("function", "sections", "message"),
    [
        ("unseeded", {}, "not the same when it is built twice"),
        ("ssd", {"pruning": {"criterion": "synflow", "ranked": "initial"}}, "of source 'module'; choose another"),
        (
            "ssd",
            {"pruning": {"groups": ["encoder"]}},
            "this detector has no 'encoder'; choose among backbone, predictor",
        ),
        ("ssd", {"selection": {"metric": "segm"}}, "'segm' is no metric of"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_kept(
    tmp_path: Path, function: str, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        find_ticket(_recipe(function, **sections), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("structure", [name for name in STRUCTURES if name not in ("single", "in4")])
def test_every_structure_of_zeros_is_searched_and_exported(structure: str, tmp_path: Path) -> None:
    level = 1 - GROUPS[structure].keep / GROUPS[structure].of if structure in GROUPS else 0.5
    recipe = _recipe(pruning={"levels": [level], "structure": structure}, controls={"random": []})
    assert find_ticket(smoke_recipe(recipe, tmp_path / "w.safetensors"), tmp_path / "run", device="cpu").finished
    name = level_name("level", level)
    found = sparsity(load_masks(RunDirectory.open(tmp_path / "run").trial(name).mask))
    # Blocks are few here, and the last group of three input channels keeps two.
    assert found == pytest.approx(level, abs=0.1)
    made = export(tmp_path / "run", level=name, out=tmp_path / "out")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
