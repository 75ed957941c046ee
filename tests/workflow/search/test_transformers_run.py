"""A detector of transformers: searched, fine-tuned in INT8, packed, and scored as in torch."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.mask import load_masks, sparsity
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.export.from_run import export
from lth_deploy.workflow.search.find_ticket import find_ticket
from lth_deploy.workflow.search.smoke import smoke_recipe
from tests.detectors.sources.transformers_configs import CONFIGS
from tests.workflow.ticket_runs import recipe_of


@pytest.mark.slow
def test_its_ticket_and_the_twin_in_int8_are_exported_and_answer_as_torch_does(tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    sections = {"pruning": {"levels": [0.8], "structure": "in4"}, "quantization": {"levels": [0.8], "lr": 1e-5}}
    config = {"model_type": "rt_detr_v2", **CONFIGS["rt_detr_v2"]}
    detector = {"source": "transformers", "config": config, "size": [64, 96]}
    recipe = recipe_of(detector, **sections, controls={"random": []})
    run = tmp_path / "run"
    assert find_ticket(smoke_recipe(recipe, tmp_path / "initial.safetensors"), run, device="cpu").finished
    assert sparsity(load_masks(RunDirectory.open(run).trial("level_80").mask)) == pytest.approx(0.8, abs=2e-3)
    made = export(run, level="level_80", out=tmp_path / "float")
    assert made.gate.parity.compared > 0
    target = Target(values="int8", gates=GatesSpec(int8_ap_drop=1.0, int8_steps=255))
    twin = export(run, level="level_80_int8", target=target, out=tmp_path / "int8")
    metadata = read_metadata(load_model(twin.artifact))
    assert metadata is not None
    assert metadata.decoder == "detr"
    assert metadata.quantization is not None
    assert metadata.quantization.method == "learned"
    # Convolutions; layers over tokens stay float.
    assert twin.gate.int8_macs is not None
    assert 0.5 < twin.gate.int8_macs < 1.0
