"""What is written for SparseML says what the recipe says, and comes back as the same recipe."""

from typing import Any

import pytest

from lth_deploy.config.sparseml.document import parse
from lth_deploy.config.sparseml.translate import translate
from lth_deploy.config.sparseml.writing import write_recipe
from lth_deploy.errors import RecipeError
from tests.config.sparseml_recipes.recipes import recipe


@pytest.mark.parametrize(
    "pruning",
    [
        {"allocation": "per_layer"},
        {"allocation": "global"},
        {"allocation": "per_layer", "structure": "in4", "block_score": "l1"},
    ],
)
def test_what_is_written_is_read_as_the_same(pruning: dict[str, Any]) -> None:
    ours = recipe(pruning, quantization={"levels": [0.8], "epochs": 2, "freeze_ranges_at": 0.5})
    written = write_recipe(ours, ["a.weight", "b.weight"], None)
    sections = translate(parse(written.text, "written")).sections
    assert sections["pruning"].pop("include") == ["a", "b"]
    again = recipe(sections["pruning"], training=sections["training"], quantization=sections["quantization"])
    assert again == ours


def test_steps_need_their_number_in_an_epoch() -> None:
    ours = recipe(training={"steps": 100, "schedule": {"name": "constant"}}, pruning={"cubic": {"every": 5}})
    with pytest.raises(RecipeError, match=r"training\.steps counts optimizer steps.*--steps-per-epoch"):
        write_recipe(ours, ["a.weight"], None)
    text = write_recipe(ours, ["a.weight"], 20).text
    assert "end_epoch: 5.0" in text
    assert "update_frequency: 0.25" in text


def test_numbers_are_such_as_yaml_of_1_1_reads() -> None:
    assert "init_lr: 1.0e-05" in write_recipe(recipe(), ["a.weight"], None).text


@pytest.mark.parametrize(
    ("pruning", "named"),
    [
        ({"schedule": "levels"}, "schedule 'levels'"),
        ({"levels": [0.5, 0.8]}, "2 levels"),
        ({"allocation": "erk"}, "allocation 'erk'"),
        ({"structure": "2x4"}, "structure '2x4'"),
        ({"criterion": "lamp"}, "criterion 'lamp'"),
        ({"structure": "in4"}, "block_score other than l1"),
    ],
)
def test_pruning_without_a_counterpart_is_named(pruning: dict[str, Any], named: str) -> None:
    with pytest.raises(RecipeError, match=f"SparseML has no counterpart for pruning with {named}"):
        write_recipe(recipe(pruning), ["a.weight"], None)


def test_what_is_left_to_the_script_is_said() -> None:
    ours = recipe(training={"epochs": 4, "schedule": {"name": "one_cycle", "warmup_steps": 3}})
    notes = write_recipe(ours, ["a.weight"], None).notes
    assert any("one_cycle has no counterpart" in note for note in notes)
    assert any("warmup_steps is left out" in note for note in notes)
