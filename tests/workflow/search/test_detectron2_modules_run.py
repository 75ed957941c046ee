"""A search on detectron2's own modules, whose ticket is exported on torchvision's."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("detectron2.modeling", reason="detectron2 is built from source")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import Target
from lth_deploy.detectors.sources import detectron2_configurations
from lth_deploy.detectors.sources.source import Deployed
from lth_deploy.errors import ParityError
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from tests.workflow.quantized_twin import exported_twin
from tests.workflow.search.detectron2_recipes import recipe
from tests.workflow.ticket_runs import outcome, stopped_everywhere

SHORT: dict[str, Any] = {"training": {"steps": 3}, "controls": {"random": []}}


def _recipe(folder: Path, name: str = "retinanet", **sections: Any) -> Recipe:
    made = recipe(folder, name, **sections)
    return made.model_copy(update={"detector": made.detector.model_copy(update={"modules": "detectron2"})})


@pytest.mark.parametrize("name", ["retinanet", "mask_rcnn", "keypoint_rcnn"])
def test_a_ticket_is_found_and_exported(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert find_ticket(_recipe(tmp_path, name, pruning={"levels": [0.8]}, **SHORT), run, device="cpu").finished
    masks = load_masks(RunDirectory.open(run).trial("level_80").mask)
    assert sparsity(masks) == pytest.approx(0.8, abs=2e-3)
    assert "network.backbone.bottom_up.res3.0.conv1.weight" in masks
    made = export(run, level="level_80", out=tmp_path / "export")
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert "backbone.body.layer2.0.conv1.weight" in metadata.positions
    kinds = {"retinanet": {"bbox"}, "mask_rcnn": {"bbox", "segm"}, "keypoint_rcnn": {"bbox", "keypoints"}}
    assert set(made.gate.file_ap) == kinds[name]


@pytest.mark.parametrize("name", ["retinanet", "mask_rcnn"])
def test_its_quantized_twin_is_exported_with_the_ranges_that_it_learned(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    sections = {"pruning": {"levels": [0.8], "structure": "in4"}, "quantization": {"levels": [0.8], "lr": 1e-5}}
    small = smoke_recipe(_recipe(tmp_path, name, **sections), tmp_path / "initial.safetensors")
    assert find_ticket(small, tmp_path / "run", device="cpu").finished
    made, _ = exported_twin(tmp_path / "run", tmp_path / "out")
    assert made.gate.int8_macs == pytest.approx(1.0)


def test_a_ticket_of_whole_filters_is_exported_without_them(tmp_path: Path) -> None:
    pruning = {"levels": [0.3], "structure": "filter", "allocation": "per_layer"}
    searched = _recipe(tmp_path, pruning=pruning, controls={"random": []})
    small = smoke_recipe(searched, tmp_path / "initial.safetensors")
    find_ticket(small, tmp_path / "run", device="cpu")
    made = export(tmp_path / "run", level="level_30", target=Target(format="dense"), out=tmp_path / "out")
    assert made.gate.parity.passed
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert len(metadata.removed_channels) > 10


def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    searched = _recipe(tmp_path, pruning={"levels": [0.5], "rewind": {"step": 1}}, **SHORT)
    find_ticket(searched, tmp_path / "through", device="cpu")
    assert stopped_everywhere(searched, tmp_path / "parts") > 4
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "through")


def test_a_fault_in_the_form_for_export_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    find_ticket(_recipe(tmp_path, pruning={"levels": [0.5]}, **SHORT), run, device="cpu")
    honest = detectron2_configurations.as_torchvision

    def faulty(model: Any) -> Deployed:
        made = honest(model)
        made.module.get_parameter("head.regression_head.bbox_reg.bias").data += 1
        return made

    monkeypatch.setattr(detectron2_configurations, "as_torchvision", faulty)
    with pytest.raises(ParityError, match="the form of retinanet that is exported does not find"):
        export(run, level="level_50", out=tmp_path / "out")
