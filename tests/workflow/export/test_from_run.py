"""Export of a run: sound files pass the gate with equal AP, files with a planted fault never appear."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workflow.ticket_runs import tiny_recipe

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from onnx import ModelProto, TensorProto, helper, numpy_helper  # noqa: E402

from lth_deploy import storage  # noqa: E402
from lth_deploy.compiler.artifact.load import load_model  # noqa: E402
from lth_deploy.compiler.artifact.metadata import read_metadata, write_metadata  # noqa: E402
from lth_deploy.compiler.artifact.value_types import round_values  # noqa: E402
from lth_deploy.compiler.emit import emit, emitter  # noqa: E402
from lth_deploy.compiler.model.normalized_model import NormalizedModel  # noqa: E402
from lth_deploy.compiler.model.save import save_model  # noqa: E402
from lth_deploy.config.recipe import Recipe  # noqa: E402
from lth_deploy.config.target import GatesSpec, Target  # noqa: E402
from lth_deploy.detectors import fold_norm as fold_module  # noqa: E402
from lth_deploy.errors import DataError, GateError, ParityError, UsageError  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.export import tune_regions  # noqa: E402
from lth_deploy.workflow.export.from_run import choose_trial, export  # noqa: E402
from lth_deploy.workflow.export.run_source import open_trial, searched_in, stored_reference  # noqa: E402
from lth_deploy.workflow.gates.detections import hold_detections  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket  # noqa: E402
from lth_deploy.workflow.search.smoke import smoke_recipe  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.trained_model import trained_model  # noqa: E402

Faults = Callable[[ModelProto], None]


def smoke_run(folder: Path, detector: str) -> Path:
    """A run of two steps a trial, from weights whose scores differ."""
    recipe = smoke_recipe(tiny_recipe(detector), folder / "initial.safetensors")
    return find_ticket(recipe, folder / "run", device="cpu").run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return smoke_run(tmp_path_factory.mktemp("export"), "retinanet")


@pytest.mark.parametrize("format_", ["packed", "coo"])
def test_a_sound_file_passes_and_says_what_it_is(run: Path, tmp_path: Path, format_: str) -> None:
    target = Target(format=format_)  # type: ignore[arg-type]
    made = export(run, level="80", target=target, out=tmp_path)
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    assert_same_ap(made.gate.torch_ap, made.gate.file_ap)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert (metadata.level, metadata.format, metadata.values) == ("level_80", format_, "fp16")
    assert metadata.sparsity == pytest.approx(0.8, abs=1e-6)
    assert metadata.control_sha256 == storage.sha256(made.dense)
    assert [category.name for category in metadata.classes] == ["circle", "square", "triangle"]
    assert not list(tmp_path.glob(".export-*"))
    if format_ == "packed":
        assert made.artifact.stat().st_size < made.dense.stat().st_size / 4


def test_a_run_is_exported_in_int8(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    made = export(run, level="80", target=Target(values="int8", region_quads=0.0), out=tmp_path)
    assert made.gate.images == 2
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert (metadata.level, metadata.values) == ("level_80", "int8")
    assert metadata.quantization is not None
    assert metadata.quantization.errors.keys() == metadata.positions.keys()
    assert made.artifact.stat().st_size < made.dense.stat().st_size / 6
    with pytest.raises(UsageError, match="--calibrate goes with"):
        export(run, level="80", out=tmp_path / "other", calibrate=tmp_path)


@pytest.mark.parametrize("detector", ["mask_rcnn", "keypoint_rcnn"])
def test_two_stage_detectors_export_with_equal_ap(tmp_path: Path, detector: str) -> None:
    # Boxes of untrained heads are slivers, and one pixel that rounding flips is a large share of so small a mask.
    gates = GatesSpec(matched=0.7 if detector == "mask_rcnn" else 0.99)
    made = export(smoke_run(tmp_path, detector), level="80", target=Target(gates=gates), out=tmp_path / "out")
    shares = {name: output.share for name, output in made.gate.parity.outputs.items() if name != "masks"}
    assert min(shares.values()) >= 0.99, shares
    kind = {"mask_rcnn": "segm", "keypoint_rcnn": "keypoints"}[detector]
    assert {"bbox", kind} == set(made.gate.torch_ap)
    for gate in (made.gate, made.dense_gate):
        assert_same_ap(gate.torch_ap, gate.file_ap)
    assert {"boxes", {"segm": "masks"}.get(kind, kind)} <= set(made.gate.parity.outputs)


def assert_same_ap(first: dict[str, Any], second: dict[str, Any]) -> None:
    for kind, metrics in first.items():
        assert second[kind]["AP"] == pytest.approx(metrics["AP"], abs=0.001), kind


def initializer(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name.endswith(name))


def rewrite(model: ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    tensor = initializer(model, name)
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def two_weights_swapped(model: ModelProto) -> None:
    def swap(array: Any) -> Any:
        flat = array.reshape(-1)
        low, high = flat.argmin(), flat.argmax()
        flat[low], flat[high] = flat[high], flat[low]
        return array

    rewrite(model, "backbone.body.conv1.weight", swap)


def a_bias_set_to_zero(model: ModelProto) -> None:
    rewrite(model, "backbone.body.conv1.bias", np.zeros_like)


def a_bias_removed(model: ModelProto) -> None:
    bias = initializer(model, "backbone.body.layer1.0.conv1.bias").name
    (node,) = [node for node in model.graph.node if bias in node.input]
    node.input.remove(bias)


def the_stem_takes_bgr(model: ModelProto) -> None:
    rewrite(model, "backbone.body.conv1.weight", lambda array: array[:, ::-1])


def the_image_is_read_as_bgr(model: ModelProto) -> None:
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "image":
                node.input[place] = "image_bgr"
    order = numpy_helper.from_array(np.array([2, 1, 0]), "bgr_order")
    model.graph.initializer.append(order)
    model.graph.node.insert(0, helper.make_node("Gather", ["image", "bgr_order"], ["image_bgr"], axis=2))


FAULTS = [two_weights_swapped, a_bias_set_to_zero, a_bias_removed, the_stem_takes_bgr, the_image_is_read_as_bgr]


@dataclass(frozen=True)
class Sound:
    """The dense graph of a ticket, and what the gate holds a file made of it against."""

    recipe: Recipe
    dataset: Any
    graph: NormalizedModel
    reference: Any
    metadata: Any

    def gate(self, graph: NormalizedModel, file: Path) -> Any:
        """Pack `graph` into `file` and hold that against the sound reference."""
        packed, _ = emit(graph, Target())
        write_metadata(packed, self.metadata)
        save_model(packed, file)
        return hold_detections(file, self.reference, self.dataset, self.recipe, Target().gates)


@pytest.fixture(scope="module")
def sound(run: Path) -> Sound:
    directory = RunDirectory.open(run)
    searched = searched_in(directory)
    source = open_trial(searched, directory.trial("level_80"), Target())
    reference = stored_reference(source.module, round_values(source.model, "fp16").proto)
    return Sound(searched.recipe, searched.val, source.model, reference, source.metadata)


def test_the_gate_passes_what_has_no_fault(sound: Sound, tmp_path: Path) -> None:
    assert sound.gate(sound.graph, tmp_path / "model.onnx").parity.passed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_the_gate(sound: Sound, tmp_path: Path, fault: Faults) -> None:
    planted = sound.graph.edited(fault)
    with pytest.raises(ParityError, match=r"model\.onnx.*worst output.*nothing was exported"):
        sound.gate(planted, tmp_path / "model.onnx")


def test_a_file_that_fails_the_gate_never_appears(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(model: NormalizedModel, target: Target) -> Any:
        planted = model.edited(the_image_is_read_as_bgr) if target.format == "packed" else model
        return emitter(planted, target)

    monkeypatch.setattr(tune_regions, "emitter", faulty)
    with pytest.raises(ParityError, match=r"model\.onnx.*nothing was exported"):
        export(run, level="80", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_drops_biases_fails_the_gate(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = fold_module._fold

    def forgetful(conv: Any, norm: Any) -> None:
        fold(conv, norm)
        conv.bias.data.zero_()

    monkeypatch.setattr(fold_module, "_fold", forgetful)
    with pytest.raises(ParityError, match="folding the norms changes 'backbone'"):
        export(run, level="80", out=tmp_path)


def test_a_graph_cannot_vouch_for_weights_that_were_not_trained(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lth_deploy.compiler.model import capture as capture_module

    capture = capture_module.capture

    def faulty(*arguments: Any, **options: Any) -> ModelProto:
        model = capture(*arguments, **options)
        two_weights_swapped(model)
        return model

    monkeypatch.setattr(capture_module, "capture", faulty)
    with pytest.raises(ParityError):
        export(run, level="80", out=tmp_path)
    layer = torch.nn.Linear(3, 2)
    for change, sound in ((0.0, True), (2.0**-13, True), (2.0**-9, False)):
        weight = layer.weight.detach().numpy() * np.float32(1 + change)
        graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(weight, "weight")])
        if sound:
            stored_reference(layer, helper.make_model(graph))
        else:
            with pytest.raises(ParityError, match="'weight' holds other weights"):
                stored_reference(layer, helper.make_model(graph))


def test_levels_are_found_under_every_name(run: Path) -> None:
    directory = RunDirectory.open(run)
    for level in ("80", "80%", "0.8", "80.0", "level_80"):
        assert choose_trial(directory, level).name == "level_80"
    assert choose_trial(directory, "random_80").name == "random_80"


@pytest.mark.parametrize("level", ["70", "0.7", "nonsense", "", "nan", "../dense"])
def test_a_level_that_is_not_there_is_named_with_those_that_are(run: Path, level: str) -> None:
    with pytest.raises(UsageError, match=r"finished: dense, level_80, random_80"):
        choose_trial(RunDirectory.open(run), level)


def test_best_needs_a_winner(run: Path, tmp_path: Path) -> None:
    directory = RunDirectory.open(run)
    text = directory.summary.read_text()
    summary = storage.read_json(directory.summary)
    try:
        storage.write_json(directory.summary, {**summary, "winner": None})
        directory.commit([directory.summary])
        with pytest.raises(GateError, match=r"no winning ticket.*--level \(dense, level_80, random_80\)"):
            export(run, out=tmp_path)
        storage.write_json(directory.summary, {**summary, "winner": {"trial": "level_80"}})
        with pytest.raises(DataError, match=r"summary\.json has changed since it was committed"):
            choose_trial(directory, "best")
        directory.commit([directory.summary])
        assert choose_trial(directory, "best").name == "level_80"
    finally:
        directory.summary.write_text(text)
        directory.commit([directory.summary])


def test_no_run_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run directory"):
        export(tmp_path / "nothing")


def test_weights_beside_their_mask_are_refused(run: Path) -> None:
    directory = RunDirectory.open(run)
    trial, dataset = directory.trial("level_80"), load_splits(directory.recipe(), run)["val"]
    whole = trial.weights.read_bytes()
    state, masks = TrainingState.load(trial.weights), load_masks(trial.mask)
    name = next(name for name, mask in masks.items() if not mask.all())
    state.model[name][torch.from_numpy(~masks[name])] = 1.0
    try:
        state.save(trial.weights)
        with pytest.raises(DataError, match="has changed since it was committed"):
            trained_model(directory.recipe(), trial, dataset)
        trial.run.commit([trial.weights])
        with pytest.raises(DataError, match="weights where its mask has none"):
            trained_model(directory.recipe(), trial, dataset)
    finally:
        trial.weights.write_bytes(whole)
        trial.run.commit([trial.weights])


def test_permuted_class_names_never_appear(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def permuting(model: ModelProto, metadata: Any) -> None:
        first, second, *others = metadata.classes
        write_metadata(model, metadata.model_copy(update={"classes": [second, first, *others]}))

    monkeypatch.setattr("lth_deploy.workflow.export.pipeline.write_metadata", permuting)
    with pytest.raises(ParityError, match=r"label 1 is 'square' \(category 2\), expected is 'circle' \(category 1\)"):
        export(run, level="80", out=tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_annotations_with_other_classes_than_the_training_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = storage.read_json

    def permuted(path: Path) -> Any:
        document = read(path)
        if path.name == "summary.json":
            first, second, *others = document["dataset"]["classes"]
            document["dataset"]["classes"] = [second, first, *others]
        return document

    monkeypatch.setattr(storage, "read_json", permuted)
    with pytest.raises(ParityError, match="label 1 is 'circle', expected is 'square'"):
        export(run, level="80", out=tmp_path)
