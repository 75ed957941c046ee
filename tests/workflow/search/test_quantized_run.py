"""From a recipe with a section `quantization` to the INT8 file: the trial's grids, zeros and AP are the file's."""

from pathlib import Path

import numpy as np
import pytest

from tests.workflow.quantized_twin import LENIENT
from tests.workflow.ticket_runs import tiny_recipe

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
pytest.importorskip("sympy", reason="the int8 extra is not installed")

from onnx import TensorProto, numpy_helper  # noqa: E402

from lth_deploy import storage  # noqa: E402
from lth_deploy.compiler.artifact.load import load_model  # noqa: E402
from lth_deploy.compiler.artifact.metadata import read_metadata  # noqa: E402
from lth_deploy.compiler.importing.unpacked import unpack_model  # noqa: E402
from lth_deploy.config.recipe import Recipe  # noqa: E402
from lth_deploy.config.target import GatesSpec, Target  # noqa: E402
from lth_deploy.evaluation.ap_loss import Scores  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.workflow.export.from_run import choose_trial, export  # noqa: E402
from lth_deploy.workflow.export.run_source import float_scores  # noqa: E402
from lth_deploy.workflow.inspect.inspect import inspect_artifact  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket  # noqa: E402
from lth_deploy.workflow.search.smoke import smoke_recipe  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.trained_model import learned_grids, trained_model  # noqa: E402


def quads(folder: Path, family: str = "retinanet") -> Recipe:
    """One level of quads and its quantized twin, from weights whose scores differ."""
    recipe = tiny_recipe(
        family, pruning={"levels": [0.8], "structure": "in4"}, quantization={"levels": [0.8], "lr": 1e-5}
    )
    small = smoke_recipe(recipe, folder / "initial.safetensors")
    return small.model_copy(update={"controls": small.controls.model_copy(update={"random": []})})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    result = find_ticket(quads(folder), folder / "run", device="cpu")
    rows = {trial.name: trial for trial in result.summary.trials}
    assert list(rows) == ["dense", "level_80", "level_80_int8"]
    assert rows["level_80_int8"].val["bbox"]["AP"] is not None
    assert rows["level_80_int8"].zero_macs == rows["level_80"].zero_macs
    return result.run


def test_the_file_has_the_trial_s_grids_and_zeros(run: Path, tmp_path: Path) -> None:
    made = export(run, level="level_80_int8", target=LENIENT, out=tmp_path)
    assert made.trial == "level_80_int8"
    assert made.artifact.stat().st_size < made.dense.stat().st_size / 10
    trial = RunDirectory.open(run).trial("level_80_int8")
    learned = learned_grids(trial)
    assert learned is not None
    model = load_model(made.artifact)
    metadata = read_metadata(model)
    assert metadata is not None
    assert metadata.quantization is not None
    assert metadata.quantization.method == "learned"
    assert made.gate.int8_macs is not None
    assert metadata.int8_macs == round(made.gate.int8_macs, 4)
    assert 0.5 < metadata.int8_macs <= 1
    assert made.as_dict()["int8_macs"] == made.gate.int8_macs
    plain = unpack_model(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
    constants = [node for node in plain.graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    stored |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in constants}
    rounding = [node for node in plain.graph.node if node.op_type == "QuantizeLinear"]
    found = {(float(stored[node.input[1]]), int(stored[node.input[2]])) for node in rounding}
    assert found == set(learned.grids.values())
    bytes_of = {t.name: stored[t.name] for t in plain.graph.initializer if t.data_type == TensorProto.INT8}
    for name, mask in load_masks(trial.mask).items():
        assert not bytes_of[name][~mask].any(), name
        assert np.count_nonzero(bytes_of[name]) > 0.9 * np.count_nonzero(mask), name


def test_a_float_file_of_a_quantized_trial_has_its_weights(run: Path) -> None:
    directory = RunDirectory.open(run)
    recipe, trial = directory.recipe(), directory.trial("level_80_int8")
    dataset = load_splits(recipe, run)["val"]
    rounded, plain = (trained_model(recipe, trial, dataset, rounding=rounding) for rounding in (True, False))
    weights = dict(plain.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in rounded.named_parameters())
    image = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        assert not torch.equal(rounded(image)[0]["scores"], plain(image)[0]["scores"])
    assert learned_grids(directory.trial("level_80")) is None


def test_the_best_int8_file_is_of_the_fine_tuned_winner(run: Path) -> None:
    directory = RunDirectory.open(run)
    summary = storage.read_json(directory.summary)
    storage.write_json(directory.summary, {**summary, "winner": {"trial": "level_80"}})
    directory.commit([directory.summary])
    assert choose_trial(directory, "best", int8=True).name == "level_80_int8"
    assert choose_trial(directory, "best").name == "level_80"
    assert choose_trial(directory, "80", int8=True).name == "level_80"


def test_a_quantized_trial_is_held_to_the_ap_of_the_float_ticket(run: Path) -> None:
    directory = RunDirectory.open(run)
    own = Scores({"bbox": {"AP": 0.25}})
    ticket = directory.trial("level_80")
    assert float_scores(directory.trial("level_80_int8"), own).metrics == ticket.read_result().val
    assert float_scores(ticket, own) is own


def test_a_mask_predictor_s_transposed_layer_is_fine_tuned_as_bytes(tmp_path: Path) -> None:
    recipe = quads(tmp_path, "mask_rcnn")
    found = find_ticket(recipe, tmp_path / "run", device="cpu").run
    gates = GatesSpec(int8_ap_drop=1.0, int8_steps=255, matched=0.5, score_difference=0.1, ap_difference=1.0)
    made = export(found, level="level_80_int8", target=Target(values="int8", gates=gates), out=tmp_path / "export")
    report = inspect_artifact(made.artifact)
    assert report.metadata is not None
    assert report.metadata.quantization is not None
    assert report.metadata.quantization.kept_float == {}
    layer = next(row for row in report.layers if row.name.startswith("roi_heads.mask_predictor.conv5_mask"))
    assert layer.op_type == "ConvTranspose"
    assert layer.error is not None
    assert layer.dense_because is None or layer.dense_because.startswith("predicted")
