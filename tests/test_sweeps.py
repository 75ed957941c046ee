"""Bundled sweeps: every row is a recipe that can be run."""

from pathlib import Path

import pytest

from lth_deploy.config.bundled import recipe_names, sweep_file, sweep_names
from lth_deploy.config.sweep_spec import load_sweep
from lth_deploy.errors import RecipeError
from lth_deploy.pruning.search.plan import plan_trials
from lth_deploy.workflow.sweep.record import axis_of_plot
from lth_deploy.workflow.sweep.rows import SweepRow, rows_of

NAMES = sweep_names()
# How many runs there are, and the axis along which AP is drawn.
EXPECTED = {
    "bccd_blocks": (8, "pruning.levels"),
    "bccd_progressive": (12, None),
    "bccd_sources": (28, "pruning.levels"),
    "bccd_wide": (8, "pruning.levels"),
    "shapes_allocation": (48, "pruning.levels"),
    "shapes_blocks": (9, "pruning.levels"),
    "shapes_early_bird": (21, "pruning.early_masks.take"),
    "shapes_groups": (15, None),
    "shapes_progressive": (21, None),
    "shapes_restart": (27, "pruning.levels"),
    "shapes_rewind_step": (21, "pruning.rewind"),
    "shapes_rounds": (12, "pruning.levels"),
    "shapes_sparsity": (20, "pruning.levels"),
    "shapes_tasks": (21, None),
}


def rows(name: str, out: Path) -> list[SweepRow]:
    return rows_of(load_sweep(sweep_file(name)), out, check_variables=False)


def test_no_sweep_is_taken_for_a_recipe() -> None:
    assert set(NAMES) == set(EXPECTED)
    assert not [name for name in recipe_names() if "sweeps" in name]
    with pytest.raises(RecipeError, match="no sweep is called 'shapes_sparsty'; did you mean 'shapes_sparsity'"):
        sweep_file("shapes_sparsty")


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_sweep_is_named_as_its_file_and_begins_with_what_it_is(name: str, tmp_path: Path) -> None:
    file = sweep_file(name)
    sweep = load_sweep(file)
    assert sweep.spec.name == name
    assert file.read_text(encoding="utf-8").startswith("# ")
    found = rows(name, tmp_path)
    assert (len(found), axis_of_plot(sweep, found)) == EXPECTED[name]
    assert len({row.recipe.digest() for row in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_bundled_sweep_can_be_run(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    from lth_deploy.workflow.search.recipe_checks import check_recipe

    checked = set()
    for row in rows(name, tmp_path):
        network = repr((row.recipe.detector, row.recipe.pruning, row.recipe.selection))
        if network not in checked:
            check_recipe(row.recipe)
        checked.add(network)


def test_the_sources_of_blood_cells_come_first_and_the_cells_by_value(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    from lth_deploy.workflow.search.shared_dense import dense_key

    found = rows("bccd_sources", tmp_path)
    levels = [row.recipe.pruning.level_list()[-1] for row in found[1:]]
    assert levels == [0.8] * 9 + [0.9] * 9 + [0.5] * 9
    assert len({dense_key(row.recipe) for row in found}) == 4, "one of the cells, and one of each seed"
    assert [row.seed for row in found[1:]] == [0, 1, 2] * 9
    for row in found[1:]:
        needs = (found[0].id,) if row.name != "direct" else ()
        assert row.needs == needs
        kinds = {plan.kind for plan in plan_trials(row.recipe)}
        assert ("random" in kinds) == (row.name == "direct")
        if row.recipe.source is not None:
            assert Path(row.recipe.source.run) == (tmp_path / "runs" / found[0].id).resolve()
            assert row.recipe.source.transfer == ("mask" if row.name == "mask only" else "ticket")
