"""Recipes: every fault is found before work starts, and named by file, line, key, value and nearest key."""

import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest

from lth_deploy.config import strict_yaml
from lth_deploy.config.bundled import target_file, target_names
from lth_deploy.config.recipe import Recipe, load_recipe, recipe_from
from lth_deploy.config.search_spec import RoundsSpec
from lth_deploy.config.target import Target
from lth_deploy.config.validation import validate
from lth_deploy.errors import RecipeError
from tests.config.recipes import MINIMAL, write


def _read(text: str, overrides: list[str] | None = None) -> Recipe:
    return recipe_from(strict_yaml.parse(text, "r.yaml"), overrides)


def _fault(text: str, overrides: list[str] | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        _read(text, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("min_size", "min_sise", "r.yaml, line 5: detector.min_sise: unknown key; did you mean 'min_size'?"),
        ("min_size", "min-size", "r.yaml, line 5: detector.min-size: unknown key; did you mean 'min_size'?"),
        ("detector:", "Detector:", "r.yaml, line 2: Detector: unknown key; did you mean 'detector'?"),
        ("  steps", "  Steps", "r.yaml, line 10: training.Steps: unknown key; did you mean 'steps'?"),
        ("{lr:", "{rate:", "r.yaml, line 11: training.optimizer.rate: unknown key; valid: lr, momentum, name, weight"),
        ("step: 2", "stop: 2", "r.yaml, line 14: pruning.rewind.stop: unknown key; did you mean 'step'?"),
        (
            "[0.5, 0.8]",
            "{to: 0.8, round: 5}",
            "r.yaml, line 13: pruning.levels.round: unknown key; did you mean 'rounds'?",
        ),
    ],
)
def test_a_wrong_key_is_named_with_file_line_path_and_the_nearest_key(right: str, wrong: str, message: str) -> None:
    assert message in _fault(MINIMAL.replace(right, wrong))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("retinanet", "retina", "line 3: detector.name: Input should be 'faster_rcnn', "),
        ("resnet18", "resnet19", "line 4: detector.backbone: "),
        ("resnet18", "mobilenet_v3_large", "cannot stand on backbone 'mobilenet_v3_large'"),
        ("min_size: 96", "min_size: 97", "min_size 97 is larger than max_size 96"),
        ("steps: 10", "steps: -1", "line 10: training.steps: Input should be greater than or equal to 0; found -1"),
        ("steps: 10", "steps: 0", "training.steps is 0, which only pruning.schedule 'post_training' can work with"),
        ("steps: 10", "steps: true", "line 10: training.steps: Input should be a valid integer; found True"),
        ("steps: 10", "steps: '10'", "line 10: training.steps: Input should be a valid integer; found '10'"),
        ("steps: 10", "epochs: 1\n  steps: 10", "line 9: training: give the length of a training once"),
        ("  steps: 10\n", "", "line 9: training: give the length of a training once"),
        ("lr: 1e-3", "lr: 1e", "line 11: training.optimizer.lr: Input should be a valid number; found '1e'"),
        ("lr: 1e-3", "lr: .inf", "line 11: training.optimizer.lr: Input should be a finite number; found inf"),
        ("[0.5, 0.8]", "[0.8, 0.5]", "line 12: pruning: levels must rise and not be empty, found [0.8, 0.5]"),
        ("[0.5, 0.8]", "[]", "levels must rise and not be empty"),
        ("[0.5, 0.8]", "[0.5, 80]", "line 13: pruning.levels.1: Input should be less than 1; found 80"),
        ("[0.5, 0.8]", "0.8", "line 13: pruning.levels: Input should be a valid list; found 0.8"),
        ("[0.5, 0.8]", "{to: 0.8, rounds: 101}", "pruning.levels.rounds: Input should be less than or equal to 100"),
        ("{step: 2}", "{step: 2, epoch: 1}", "line 14: pruning.rewind: give the rewind point once"),
        ("{step: 2}", "2", "line 14: pruning.rewind: Input should be a valid dictionary"),
        ("format: shapes", "format: coco", "format 'coco' needs the splits 'train' and 'val'"),
        (
            "format: shapes",
            "format: shapes\n  train: {annotations: a, images: b}",
            "format 'shapes' draws its own images; remove train, val and test",
        ),
        ("name: small", "name: a b", "line 1: name: String should match pattern"),
        ("name: small", "name: ../up", "line 1: name: String should match pattern"),
        ("name: small\n", "", "name: this key is missing and has no default"),
        ("name: small", "name: small\nversion: 2", "line 2: version: Input should be 1; found 2"),
        ("name: small", "name: small\ncontrols: {random: [0.7]}", "controls.random: 0.7 is not one of the levels"),
        ("steps: 10", "steps: 10\n  seed: -1", "training.seed: Input should be greater than or equal to 0; found -1"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found(right: str, wrong: str, message: str) -> None:
    assert message in _fault(MINIMAL.replace(right, wrong))


def test_all_faults_are_reported_at_once() -> None:
    text = MINIMAL.replace("min_size", "min_sise").replace("steps: 10", "steps: -1")
    assert [line.split(": ")[1] for line in _fault(text).splitlines()] == ["detector.min_sise", "training.steps"]


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "5"])
def test_a_file_without_keys_is_refused(text: str) -> None:
    assert "r.yaml: keys with values are needed, found" in _fault(text)


def test_overrides_are_laid_over_the_file() -> None:
    document = strict_yaml.parse(MINIMAL, "r.yaml")
    overrides = ["training.steps=null", "training.epochs=3", "selection.tolerance=5e-3", "pruning.levels=[0.9]"]
    recipe = recipe_from(document, overrides)
    assert (recipe.training.steps, recipe.training.epochs) == (None, 3)
    assert recipe.selection.tolerance == 0.005
    assert recipe.pruning.level_list() == [0.9]
    assert recipe_from(document).training.steps == 10, "the parsed document itself must not change"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stepz=3", "--set training.stepz=3: training.stepz: unknown key; did you mean 'steps'?"),
        (
            "training.steps=-3",
            "--set training.steps=-3: training.steps: Input should be greater than or equal to 0; found -3",
        ),
        ("training=3", "--set training=3: training: Input should be a valid dictionary"),
        ("training.steps.x=3", "--set training.steps.x=3: 'steps' holds the value 10, not keys"),
        ("training.steps", "--set training.steps: write it as key.path=value"),
        ("=3", "--set =3: write it as key.path=value"),
        ("training..steps=3", "write it as key.path=value"),
        ("pruning.levels=[0.8", "--set pruning.levels, line 1: cannot read this YAML"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_given(override: str, message: str) -> None:
    assert message in _fault(MINIMAL, [override])


def test_the_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path))
    again = recipe_from(strict_yaml.parse(recipe.to_yaml(), "resolved.yaml"))
    assert again == recipe
    assert again.digest() == recipe.digest()
    assert "nms_threshold" in recipe.to_yaml(), "defaults are written out"


def test_the_digest_is_of_the_meaning_and_not_of_the_text() -> None:
    reordered = MINIMAL.replace("  backbone: resnet18\n  min_size: 96\n", "  min_size: 96\n  backbone: resnet18\n")
    default_spelled_out = MINIMAL.replace("steps: 10", "steps: 10\n  batch_size: 16")
    other = MINIMAL.replace("steps: 10", "steps: 11")
    assert _read(MINIMAL).digest() == _read(reordered).digest() == _read(default_spelled_out).digest()
    assert _read(MINIMAL).digest() != _read(other).digest()


# A digest leaves defaults out, so that a new key leaves old digests as they are. A default must therefore never
# change: two runs with one digest would have been made with different settings.
DEFAULTS = {
    "version": 1,
    "detector.source": "torchvision",
    "detector.fpn_width": 256,
    "detector.head_width": 1024,
    "detector.anchor_sizes": None,
    "detector.aspect_ratios": None,
    "detector.norm": "batch",
    "detector.weights": "none",
    "detector.frozen_layers": 0,
    "detector.crop_scale": 0.08,
    "detector.proposals": 1000,
    "detector.detections": 100,
    "detector.score_threshold": 0.05,
    "detector.nms_threshold": 0.5,
    "data.train": None,
    "data.val": None,
    "data.test": None,
    "data.shapes.train": 200,
    "data.shapes.val": 50,
    "data.shapes.test": 50,
    "data.shapes.width": 160,
    "data.shapes.height": 160,
    "data.shapes.max_objects": 4,
    "data.shapes.seed": 0,
    "data.drop_empty": False,
    "data.drop_degenerate": False,
    "training.epochs": None,
    "training.batch_size": 16,
    "training.optimizer.name": "sgd",
    "training.optimizer.momentum": 0.9,
    "training.optimizer.weight_decay": 0.0001,
    "training.schedule.name": "step",
    "training.schedule.warmup_steps": 0,
    "training.schedule.warmup_factor": 0.001,
    "training.schedule.milestones": [0.6666666666666666, 0.8888888888888888],
    "training.schedule.gamma": 0.1,
    "training.schedule.rise": 0.3,
    "training.clip_norm": None,
    "training.flip": 0.5,
    "training.augment.vertical_flip": 0.0,
    "training.augment.zoom": [1.0, 1.0],
    "training.augment.min_visible": 0.3,
    "training.augment.brightness": 0.0,
    "training.augment.contrast": 0.0,
    "training.precision": "fp32",
    "training.seed": 0,
    "training.workers": 0,
    "training.threads": 0,
    "training.checkpoint_seconds": 60.0,
    "pruning.criterion": "magnitude",
    "pruning.criterion_batches": 8,
    "pruning.ranked": "trained",
    "pruning.schedule": "levels",
    "pruning.cubic.begin": 0.0,
    "pruning.cubic.end": 0.75,
    "pruning.cubic.every": 100,
    "pruning.allocation": "global",
    "pruning.structure": "single",
    "pruning.restart": "weights",
    "pruning.rewind.epoch": None,
    "pruning.budget": "continue",
    "pruning.share_of": "prunable",
    "pruning.scope": "default",
    "pruning.groups": [],
    "pruning.include": ["*"],
    "pruning.exclude": [],
    "pruning.fine_tune_lr": None,
    "source": None,
    "controls.random": [],
    "controls.reinit": [],
    "selection.tolerance": 0.01,
    "selection.metric": "bbox",
    "selection.bootstrap_samples": 1000,
}


def test_defaults_stay_what_they_were() -> None:
    resolved = _read(MINIMAL).model_dump(mode="json")
    for key, value in DEFAULTS.items():
        section: object = resolved
        for part in key.split("."):
            assert isinstance(section, dict)
            section = section[part]
        assert section == value, key


COCO = """\
format: coco
  train: {annotations: "${LTH_SOMEWHERE}/train.json", images: pictures}
  val: {annotations: ../val.json, images: /absolute}
"""


def test_paths_are_of_the_recipes_folder_and_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTH_SOMEWHERE", "/data")
    data = load_recipe(write(tmp_path, MINIMAL.replace("format: shapes\n", COCO))).data
    assert data.train is not None
    assert data.val is not None
    assert data.train.annotations == "/data/train.json"
    assert data.train.images == str(tmp_path / "pictures")
    assert data.val.annotations == str(tmp_path.parent / "val.json")
    assert data.val.images == "/absolute"


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    assert "LTH_SOMEWHERE" not in os.environ
    path = write(tmp_path, MINIMAL.replace("format: shapes\n", COCO))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert str(path) in message
    assert "data.train.annotations" in message
    assert "export LTH_SOMEWHERE=" in message
    shown = load_recipe(path, check_variables=False).data.train
    assert shown is not None
    assert shown.annotations == "${LTH_SOMEWHERE}/train.json"


def test_voc_names_a_split_and_not_a_file(tmp_path: Path) -> None:
    voc = "format: voc\n  train: {annotations: trainval, images: voc}\n  val: {annotations: test, images: voc}\n"
    data = load_recipe(write(tmp_path, MINIMAL.replace("format: shapes\n", voc))).data
    assert data.train is not None
    assert data.train.annotations == "trainval"
    assert data.train.images == str(tmp_path / "voc")


def test_a_ratio_is_no_number_to_the_base_of_sixty() -> None:
    text = MINIMAL.replace("levels: [0.5, 0.8]", "levels: [0.5]\n  structure: 2:4")
    assert _read(text).pruning.structure == "2:4"


@pytest.mark.parametrize("rounds", [1, 2, 5, 12])
def test_an_exponential_series_keeps_the_same_share_each_round_and_ends_where_asked(rounds: int) -> None:
    levels = RoundsSpec(to=0.8, rounds=rounds).levels()
    assert levels[-1] == 0.8
    assert len(levels) == rounds
    kept = [1.0, *(1 - level for level in levels)]
    shares = [after / before for before, after in itertools.pairwise(kept)]
    assert shares == pytest.approx([0.2 ** (1 / rounds)] * rounds, abs=1e-4)


@pytest.mark.parametrize("name", target_names())
def test_every_bundled_target_loads(name: str) -> None:
    assert validate(Target, strict_yaml.load(target_file(name))).name


def test_faults_of_a_target_and_of_its_flags_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("name: edge\nformats: packed\n")
    with pytest.raises(RecipeError, match=r"edge\.yaml, line 2: formats: unknown key; did you mean 'format'\?"):
        validate(Target, strict_yaml.load(tmp_path / "edge.yaml"))
    flags = strict_yaml.Document("the command line", {}, {})
    with pytest.raises(
        RecipeError, match=r"--values=fp8: values: Input should be 'fp32', 'fp16', 'bf16' or 'int8'; found 'fp8'"
    ):
        validate(Target, flags, ["values=fp8"], option="--")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{levels: [0.7]}", "quantization.levels: 0.7 is neither 0 nor one of the levels [0.5, 0.8]"),
        ("{levels: [0.8, 0.8]}", "quantization.levels: a level is there twice, found [0.8, 0.8]"),
        ("{levels: [0.8], steps: 3, epochs: 1}", "give the length of the fine-tuning once"),
        ("{levels: [0.8], lr: 0}", "quantization.lr: Input should be greater than 0; found 0"),
        ("{level: [0.8]}", "quantization.level: unknown key; did you mean 'levels'?"),
    ],
)
def test_a_wrong_quantization_is_explained(section: str, message: str) -> None:
    assert message in _fault(f"{MINIMAL}quantization: {section}\n")


def test_the_length_of_a_fine_tuning() -> None:
    def steps(section: str) -> int:
        return _read(f"{MINIMAL}quantization: {section}\n").quantization.total_steps(20, 800)

    assert steps("{levels: [0, 0.8]}") == 100
    assert steps("{levels: [0.8], epochs: 3}") == 60
    assert steps("{levels: [0.8], steps: 7}") == 7


def test_runs_of_earlier_versions_call_the_precision_amp() -> None:
    def text(line: str) -> str:
        return MINIMAL.replace("training:\n", f"training:\n  {line}\n")

    former, now = _read(text("amp: bf16")), _read(text("precision: bf16"))
    assert former == now
    assert _read(text("amp: off")).training.precision == "fp32"
    assert "precision: bf16" in former.to_yaml()
    assert " amp:" not in former.to_yaml()
    explicit = former.model_dump(mode="json", exclude_defaults=True, exclude={"out"})
    explicit["training"]["amp"] = explicit["training"].pop("precision")
    expected = hashlib.sha256(json.dumps(explicit, sort_keys=True).encode()).hexdigest()
    assert former.digest() == expected, "a run of an earlier version can be resumed"
    assert "training.amp: unknown key" in _fault(text("amp: bf16\n  precision: fp16"))
