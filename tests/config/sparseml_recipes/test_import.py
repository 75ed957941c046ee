"""Recipes of SparseML become recipes that say the same, or a sentence about what they do not."""

import re
from pathlib import Path
from typing import Any

import pytest

from lth_deploy.config.bundled import recipe_file
from lth_deploy.config.recipe import Recipe, load_recipe
from lth_deploy.config.sparseml.document import parse
from lth_deploy.config.sparseml.importing import import_recipe
from lth_deploy.config.sparseml.translate import translate
from lth_deploy.errors import RecipeError
from tests.config.sparseml_recipes.recipes import MARKDOWN, PRUNING, STAGED, TAGGED


def imported(folder: Path, text: str, suffix: str = ".yaml") -> tuple[Recipe, list[str]]:
    """The recipe that `text` becomes, read from its file again, and the notes."""
    source = folder / f"theirs{suffix}"
    source.write_text(text, encoding="utf-8")
    found = import_recipe(source, recipe_file("bccd_retinanet_r18"))
    ours = folder / "ours.yaml"
    ours.write_text(found.text, encoding="utf-8")
    for note in found.notes:
        assert f"# Note: {note}\n" in found.text
    return load_recipe(ours, check_variables=False), found.notes


@pytest.mark.parametrize(("text", "suffix"), [(TAGGED, ".yaml"), (MARKDOWN, ".md")])
def test_tags_are_translated_without_loss(tmp_path: Path, text: str, suffix: str) -> None:
    recipe, notes = imported(tmp_path, text, suffix)
    assert notes == []
    assert recipe.name == "theirs"
    training, pruning = recipe.training, recipe.pruning
    assert (training.epochs, training.steps) == (30, None)
    assert (training.optimizer.lr, training.optimizer.weight_decay) == (0.01, 1e-4)
    assert (training.schedule.name, training.schedule.milestones) == ("step", [0.5])
    assert training.schedule.gamma == pytest.approx(0.2)
    assert (pruning.schedule, pruning.level_list(), pruning.rewind.step) == ("cubic", [0.85], 0)
    assert (pruning.cubic.begin, pruning.cubic.end, pruning.cubic.updates) == (0.1, 0.666667, 34)
    assert (pruning.allocation, pruning.structure, pruning.block_score) == ("per_layer", "in4", "l1")
    assert pruning.include == [r"re:backbone\..*weight", "head.classification_head.conv.0.0"]
    base = load_recipe(recipe_file("bccd_retinanet_r18"), check_variables=False)
    assert recipe.detector == base.detector
    assert training.batch_size == base.training.batch_size
    assert not recipe.controls.random


def test_stages_are_translated_and_what_is_near_is_said(tmp_path: Path) -> None:
    recipe, notes = imported(tmp_path, STAGED)
    assert (recipe.training.epochs, recipe.quantization.epochs) == (20, 5)
    assert recipe.quantization.levels == [0.8]
    assert recipe.quantization.freeze_ranges_at == 0.8
    assert (recipe.pruning.allocation, recipe.pruning.cubic.end) == ("global", 0.5)
    assert recipe.pruning.cubic.updates == 10
    assert recipe.pruning.include == ["*"]
    assert (recipe.training.schedule.name, recipe.training.optimizer.lr) == ("cosine", 0.02)
    assert any(re.match(r"line 11: __ALL_PRUNABLE__ prunes every .* final predictors stay dense", one) for one in notes)
    assert "line 25: the rate's linear function is approximated by cosine" in notes
    assert any(one.startswith("line 19: QuantizationModifier.ignore is left out") for one in notes)
    assert len(notes) == 3


def _translated(text: str) -> tuple[dict[str, Any], list[str]]:
    found = translate(parse(text, "r.yaml"))
    return found.sections, found.notes


@pytest.mark.parametrize(
    ("name", "allocation"),
    [
        ("GMPruningModifier", "per_layer"),
        ("MagnitudePruningModifier", "per_layer"),
        ("GlobalMagnitudePruningModifier", "global"),
        ("MFACPruningModifier", "per_layer"),
        ("OBSPruningModifier", "global"),
    ],
)
def test_every_gradual_modifier_has_its_allocation(name: str, allocation: str) -> None:
    sections, notes = _translated(PRUNING.format(name=name))
    assert sections["pruning"]["allocation"] == allocation
    assert any("scores weights to the second order" in note for note in notes) is (
        (name[0] in "MO" and "AC" in name) or name.startswith("OBS")
    )


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (("init_sparsity: 0.0", "init_sparsity: 0.1"), "line 7: the sparsity begins at 0.1 there, at 0 here"),
        (("update_frequency: 1", "inter_func: linear"), "line 11: the linear rise is approximated by a cubic one"),
        (("update_frequency: 1", "leave_enabled: False"), "line 11: the zeros are kept to the end"),
        (("update_frequency: 1", "score_type: movement"), "line 11: the score 'movement' is approximated"),
        (("    end_epoch: 10\n", "    end_epoch: 9.6\n"), "training lasts 9.6 epochs there, 10 here"),
        (("start_epoch: 0\n    end_epoch: 10", "start_epoch: 2\n    end_epoch: 10"), "line 3: epochs are counted"),
    ],
)  # fmt: skip
def test_what_is_near_is_said_with_its_line(change: tuple[str, str], note: str) -> None:
    text = PRUNING.format(name="GMPruningModifier")
    assert change[0] in text
    assert any(one.startswith(note) for one in _translated(text.replace(*change, 1))[1])


GRADUAL = PRUNING.format(name="GMPruningModifier")
SECOND = GRADUAL.partition("end_epoch: 10\n")[2]
RATES = "".join(
    f"  - !SetLearningRateModifier\n    start_epoch: {start}\n    learning_rate: {rate}\n"
    for start, rate in ((0, 1.0), (3, 0.5), (6, 0.1))
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PRUNING.format(name="GMMPruningModifier"),
            "line 5: GMMPruningModifier is no .*did you mean 'GMPruningModifier'",
        ),
        (PRUNING.format(name="ACDCPruningModifier"), "line 5: ACDCPruningModifier alternates dense and sparse phases"),
        (PRUNING.format(name="ConstantPruningModifier"), r"line 5: ConstantPruningModifier keeps .*lth_deploy\.hold"),
        (f"{GRADUAL}    prams: []\n", r"line 12: GMPruningModifier\.prams: unknown key; did you mean 'params'"),
        (GRADUAL.replace("0.5", "{0.8: [a.weight], 0.5: [b.weight]}"), "line 8: .*final_sparsity: prunes 2 lists"),
        (GRADUAL.replace("0.5", "5"), "line 8: .*a share between 0 and 1 is needed, found 5"),
        (GRADUAL.replace("[a.weight]", "__ALL__"), "line 6: .*'__ALL__': only weights"),
        (GRADUAL.replace("a.weight", "a.bias"), r"line 6: .*'a\.bias': only weights"),
        (GRADUAL.replace("end_epoch: 5", "end_epoch: 0"), "line 10: .*does not rise"),
        (GRADUAL.replace("end_epoch: 5", "end_epoch: 50"), "line 10: .*ends after the 10 epochs"),
        (f"{GRADUAL}    mask_type: '2:4'\n", "line 12: .*'2:4' has no counterpart"),
        (GRADUAL + SECOND.replace("0.5", "0.6"), "line 15: .*other levels than the modifier before"),
        (f"{GRADUAL}  - !TrainableParamsModifier\n    trainable: False\n", r"line 13: .*detector\.frozen_layers"),
        (f"{GRADUAL}  - !SetLearningRateModifier\n    learning_rate: fast\n", "line 13: .*is needed, found 'fast'"),
        (f"{GRADUAL}  - !EpochRangeModifier\n    end_epoch: 3\n", "line 12: a second EpochRangeModifier"),
        (GRADUAL + RATES, "line 20: .*by one factor"),
        ("modifiers: []\n", "no modifiers found"),
        ("- 3\n", "keys with values are needed"),
        ("modifiers:\n  - !EpochRangeModifier\n    end_epoch: 3\n", "no modifier prunes"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name_and_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        _translated(text)


def test_all_unknown_modifiers_are_listed_at_once() -> None:
    text = "modifiers:\n  - !FooModifier\n    a: 1\n  - !BarModifier\n    b: 1\n"
    with pytest.raises(RecipeError) as found:
        _translated(text)
    assert [line.split(": ")[0] for line in str(found.value).splitlines()] == ["r.yaml, line 2", "r.yaml, line 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modifiers:\n  - !!python/object/apply:os.system ['true']\n", "line 2: the tag .*python/object.* names no"),
        ("modifiers:\n  - !!python/name:os.system {}\n", "names no modifier"),
        ("modifiers:\n  - !GMPruningModifier &a\n    params: x\n  - *a\n", r"the alias \*a is not allowed"),
        ("modifiers:\n  - !GMPruningModifier\n    params: x\n    params: y\n", "line 4: key 'params' is given twice"),
        ("modifiers:\n  - !A\n    x: eval(__import__('os').system('true'))\n", r"line 3: A\.x: cannot work out"),
        ("n: 3\nmodifiers:\n  - !A\n    x: eval(n ** 99)\n", r"line 4: A\.x: cannot work out"),
        ("n: eval(m)\nm: eval(n)\nmodifiers:\n  - !A\n    x: eval(n)\n", r"line 5: A\.x: cannot work out"),
        ("modifiers:\n  - !A\n    x: eval(1 / 0)\n", r"line 3: A\.x: cannot work out"),
        ("modifiers:\n  - !A\n    x: eval(1e308 * 10)\n", r"line 3: A\.x: cannot work out"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("a: " + "9" * 6000, "thousands of digits"),
        ("a: !B [1\n", "cannot read this YAML"),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_hostile_recipe_is_data_and_no_more(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text, "r.yaml")


def test_tags_are_names_whatever_they_say() -> None:
    (modifier,) = parse("modifiers:\n  - !os.system\n    command: echo\n", "r.yaml").modifiers
    assert (modifier.name, modifier.values) == ("os.system", {"command": "echo"})


def test_an_open_front_matter_is_named() -> None:
    with pytest.raises(RecipeError, match=r"r\.md, line 1: the front matter has no end"):
        parse("---\nmodifiers: []\n", "r.md")
    with pytest.raises(RecipeError, match=r"line 3: FooModifier is no"):
        _translated("---\nmodifiers:\n  - !FooModifier\n    a: 1\n---\n")


def test_a_key_that_is_left_out_says_its_own_reason(tmp_path: Path) -> None:
    staged = STAGED.replace("ignore: [classifier]", "freeze_bn_stats_epoch: 24.0", 1)
    assert staged != STAGED
    _, notes = imported(tmp_path, staged)
    assert any("freeze_bn_stats_epoch is left out: norms are folded before the fine-tuning" in one for one in notes)
