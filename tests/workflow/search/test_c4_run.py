"""Faster R-CNN without a pyramid: searched, rewound, quantized, packed, and scored as in torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.quantized_twin import exported_twin
from tests.workflow.ticket_runs import tiny_recipe

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.artifact.inline_regions import has_regions  # noqa: E402
from lth_deploy.compiler.artifact.load import load_model  # noqa: E402
from lth_deploy.compiler.artifact.metadata import read_metadata  # noqa: E402
from lth_deploy.data.images import read_image  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.errors import ParityError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.training import session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.artifact import open_artifact  # noqa: E402
from lth_deploy.workflow.evaluate import evaluate  # noqa: E402
from lth_deploy.workflow.export.from_run import export  # noqa: E402
from lth_deploy.workflow.gates.folding import hold_folding  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket  # noqa: E402
from lth_deploy.workflow.search.smoke import smoke_recipe  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.trained_model import trained_model  # noqa: E402

LAYER4 = "roi_heads.box_head.layer4."


@dataclass
class Searched:
    """A finished search, and the weights that each training began with, in their order."""

    run: RunDirectory
    starts: list[dict[str, Any]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("c4")
    small = smoke_recipe(
        tiny_recipe(
            "faster_rcnn/c4",
            pruning={"levels": [0.8], "structure": "in4"},
            quantization={"levels": [0.8], "lr": 1e-5},
        ),
        folder / "initial.safetensors",
    )
    recipe = small.model_copy(update={"controls": small.controls.model_copy(update={"random": []})})
    starts: list[dict[str, Any]] = []
    train = session.train

    def spying(stepper: Any, *rest: Any) -> None:
        starts.append({name: value.clone() for name, value in stepper.model.state_dict().items()})
        train(stepper, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train", spying)
        result = find_ticket(recipe, folder / "run", device="cpu")
    assert result.finished
    return Searched(RunDirectory.open(result.run), starts)


def test_the_ticket_is_rewound_in_trunk_and_head_and_sparse_as_asked(searched: Searched) -> None:
    trial = searched.run.trial("level_80")
    masks, trained = load_masks(trial.mask), TrainingState.load(trial.weights).model
    snapshot, start = TrainingState.load(searched.run.rewind).model, searched.starts[1]
    assert sparsity(masks) == pytest.approx(0.8, abs=1e-4)
    assert {name.split("layer")[0] for name in masks} >= {"backbone.body.", LAYER4.split("layer")[0]}
    for name, mask in masks.items():
        keep = torch.from_numpy(mask)
        assert torch.equal(start[name], snapshot[name] * keep), name
        assert not trained[name][~keep].any(), name
    head = [name for name in masks if name.startswith(LAYER4)]
    assert any(not torch.equal(trained[name], start[name]) for name in head)


def test_its_file_answers_as_torch_does_at_every_size(searched: Searched, tmp_path: Path) -> None:
    made = export(searched.run.path, level="level_80", out=tmp_path)
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    assert made.artifact.stat().st_size < made.dense.stat().st_size / 4
    model = load_model(made.artifact)
    assert has_regions(model)
    metadata = read_metadata(model)
    assert metadata is not None
    assert all(layer in metadata.positions for layer in _layers_of_the_head(searched))
    data = searched.run.path / "data"
    scored = evaluate(made.artifact, data / "val.json", data / "val", threads=1)
    expected = made.gate.torch_ap["bbox"]
    for key in ("AP", "AP50", "VOC07", "VOC10"):
        assert scored.ap.metrics["bbox"][key] == pytest.approx(expected[key], abs=1e-3), key
    pixels = read_image(next(iter(sorted((data / "val").iterdir()))))
    opened = open_artifact(made.artifact)
    for picture in (pixels, pixels[:70], pixels[:, :50]):
        assert len(opened.predict(picture)) > 0


@pytest.mark.slow
def test_its_quantized_twin_is_exported_with_layer4_in_bytes(searched: Searched, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    _, metadata = exported_twin(searched.run.path, tmp_path)
    assert metadata.quantization is not None
    assert set(_layers_of_the_head(searched)) <= metadata.quantization.errors.keys()


def test_a_fault_in_folding_layer4_is_seen(searched: Searched) -> None:
    """Feature maps end before it, and boxes and scores are held to the folded network."""
    dataset = load_splits(searched.run.recipe(), searched.run.path)["val"]
    trained = trained_model(searched.run.recipe(), searched.run.trial("level_80"), dataset)
    folded = fold_norm(trained).module
    hold_folding(trained, folded, dataset)
    folded.get_parameter(f"{LAYER4}0.conv1.weight").data *= 1.05
    with pytest.raises(ParityError, match=r"folding the norms changes 'roi_heads\.box_head'"):
        hold_folding(trained, folded, dataset)


def _layers_of_the_head(searched: Searched) -> list[str]:
    return [name for name in load_masks(searched.run.trial("level_80").mask) if name.startswith(LAYER4)]
