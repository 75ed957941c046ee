"""Tickets of whole filters: found, exported without them, and smaller in every runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny_detectors import FAMILIES, tiny_detector
from tests.workflow.quantized_twin import LENIENT
from tests.workflow.ticket_runs import tiny_recipe

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.compiler.artifact.load import load_model  # noqa: E402
from lth_deploy.compiler.artifact.metadata import read_metadata  # noqa: E402
from lth_deploy.compiler.importing.imported import normalize  # noqa: E402
from lth_deploy.compiler.model.capture import capture  # noqa: E402
from lth_deploy.compiler.model.save import to_bytes  # noqa: E402
from lth_deploy.compiler.one_shot.dead_channels import remove_dead_channels  # noqa: E402
from lth_deploy.config.target import Target  # noqa: E402
from lth_deploy.detectors.exportable import ExportableDetector  # noqa: E402
from lth_deploy.detectors.fold_norm import fold_norm, norms_behind  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.mask import load_masks, sparsity  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.workflow.export.from_run import export  # noqa: E402
from lth_deploy.workflow.inspect.inspect import inspect_artifact  # noqa: E402
from lth_deploy.workflow.inspect.text import facts, table  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket  # noqa: E402
from lth_deploy.workflow.search.smoke import smoke_recipe  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.trained_model import trained_model  # noqa: E402
from tests.pruning.filtered_models import prune_filters, pruned_counts  # noqa: E402


def filter_run(folder: Path, family: str, level: float = 0.5, **pruning: Any) -> Path:
    recipe = tiny_recipe(
        family, pruning={"structure": "filter", "levels": [level], **pruning}, controls={"random": [level]}
    )
    return find_ticket(smoke_recipe(recipe, folder / "initial.safetensors"), folder / "run", device="cpu").run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filter_run(tmp_path_factory.mktemp("filters"), "retinanet")


def test_what_a_pruned_filter_puts_out_is_zero_after_training(run: Path) -> None:
    directory = RunDirectory.open(run)
    masks = load_masks(directory.trial("level_50").mask)
    assert sparsity(masks) == pytest.approx(0.5, abs=0.02)
    model = trained_model(directory.recipe(), directory.trial("level_50"), load_splits(directory.recipe(), run)["val"])
    state, behind, silent = model.state_dict(), norms_behind(model), 0
    for name, mask in masks.items():
        pruned = ~mask.reshape(len(mask), -1).any(1)
        np.testing.assert_array_equal(mask.reshape(len(mask), -1).all(1), ~pruned)
        module = name.removesuffix(".weight")
        for tensor in (f"{module}.bias", *(f"{behind.get(module)}.{one}" for one in ("weight", "bias"))):
            if tensor in state:
                assert not state[tensor][torch.from_numpy(pruned)].any()
                silent += int(pruned.sum())
    assert silent > 100


def test_partners_of_a_sum_lose_the_same_filters(run: Path) -> None:
    for trial in ("level_50", "random_50"):
        masks = load_masks(RunDirectory.open(run).trial(trial).mask)
        left = {name: mask.reshape(len(mask), -1).any(1) for name, mask in masks.items()}
        for stage in (2, 3, 4):
            body = f"backbone.body.layer{stage}"
            partners = [f"{body}.0.conv2.weight", f"{body}.0.downsample.0.weight", f"{body}.1.conv2.weight"]
            assert len({left[name].tobytes() for name in partners}) == 1
    assert any(not kept.all() for kept in left.values())


@pytest.mark.parametrize("format_", ["dense", pytest.param("packed", marks=pytest.mark.slow)])
def test_the_file_has_no_dead_channels_and_says_how_many_went(run: Path, tmp_path: Path, format_: str) -> None:
    made = export(run, level="50", target=Target(format=format_, values="fp32"), out=tmp_path)  # type: ignore[arg-type]
    assert made.gate.parity.passed
    assert made.gate.parity.compared > 0
    masks = load_masks(RunDirectory.open(run).trial("level_50").mask)
    pruned = {name: int((~mask.reshape(len(mask), -1).any(1)).sum()) for name, mask in masks.items()}
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.removed_channels == {n: (gone, len(masks[n])) for n, gone in pruned.items() if gone}
    report = inspect_artifact(made.artifact)
    shapes = {layer.name: layer.shape for layer in report.layers}
    for name, gone in pruned.items():
        assert shapes[name][0] == len(masks[name]) - gone
    assert made.artifact.stat().st_size < 0.6 * made.dense.stat().st_size
    assert any(label == "channels removed" for label, _ in facts(report))
    assert any("outputs removed" in row[2] for row in table(report))


@pytest.mark.slow
def test_a_two_stage_detector_loses_filters_of_its_box_head(tmp_path: Path) -> None:
    run = filter_run(tmp_path, "faster_rcnn", 0.4, allocation="per_layer")
    made = export(run, level="40", target=Target(format="dense"), out=tmp_path / "out")
    assert made.gate.parity.passed
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert {"roi_heads.box_head.fc6.weight", "roi_heads.box_head.fc7.weight"} <= metadata.removed_channels.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_alike_without_its_dead_channels(family: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = tiny_detector(family)
    masks = prune_filters(model, 0.4)
    graph = capture(ExportableDetector(fold_norm(model).module), np.zeros((64, 96, 3), np.uint8))
    smaller, report = remove_dead_channels(normalize(graph))
    assert report.removed == pruned_counts(masks)
    assert report.left == {}
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    expected, found = (
        onnxruntime.InferenceSession(to_bytes(one), providers=["CPUExecutionProvider"]).run(None, {"image": image})
        for one in (graph, smaller.proto)
    )
    assert len(expected[0])
    for theirs, ours in zip(expected, found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_a_level_beyond_whole_filters_is_refused_before_training(tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", pruning={"structure": "filter", "levels": [0.999]}, controls={"random": []})
    with pytest.raises(RecipeError, match=r"layer_blocks.*most that can be reached is 0\.9"):
        find_ticket(recipe, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "trials").exists() or not list((tmp_path / "run" / "trials").glob("*/weights*"))


@pytest.mark.slow
def test_a_ticket_fine_tuned_as_int8_loses_its_filters_too(tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    recipe = tiny_recipe(
        pruning={"levels": [0.5], "structure": "filter"},
        quantization={"levels": [0.5], "lr": 1e-5},
        controls={"random": []},
    )
    small = smoke_recipe(recipe, tmp_path / "initial.safetensors")
    small = small.model_copy(update={"controls": small.controls.model_copy(update={"random": []})})
    run = find_ticket(small, tmp_path / "run", device="cpu").run
    for level in ("level_50_int8", "level_50"):
        made = export(run, level=level, target=LENIENT, out=tmp_path / level)
        metadata = read_metadata(load_model(made.artifact))
        assert metadata is not None
        assert metadata.quantization is not None
        masks = load_masks(RunDirectory.open(run).trial(level).mask)
        dead = {name for name, mask in masks.items() if not mask.reshape(len(mask), -1).any(1).all()}
        assert metadata.removed_channels.keys() == dead
