"""From a sweep to its rows: every combination of row, axis values and seed as one recipe with a run of its own."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lth_deploy.config.bundled import recipe_file
from lth_deploy.config.recipe import Recipe, load_recipe
from lth_deploy.config.sweep_spec import Axis, Overrides, Resources, RowSpec, Sweep
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean
from lth_deploy.run.remote.place_files import inside
from lth_deploy.run.remote.sweep_mirror import RUNS

_REFERENCE = re.compile(r"\$\{rows\.([^}]*)\}")


@dataclass(frozen=True)
class Choice:
    """The value that a row has on one axis. number: what a plot's axis can show of it, if anything."""

    label: str
    value: Any
    number: float | None = None


@dataclass(frozen=True)
class SweepRow:
    """One run of a sweep.

    id: unique, and the name of its run directory. name: of its row in the file. choices: by axis, in their order.
    settings: everything that is laid over the recipe. needs: ids of the rows whose runs it takes tickets from.
    resources: what it takes of a cluster. run: its directory. place: the same for recipes and for the process that runs
    it, which may be a URL.
    """

    id: str
    name: str
    choices: dict[str, Choice]
    seed: int
    settings: Overrides
    shown: bool
    run: Path
    place: str
    recipe: Recipe
    needs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class _Draft:
    """A row before its recipe is read; `place` is the number of its row in the file."""

    id: str
    place: int
    spec: RowSpec
    choices: dict[str, Choice]
    seed: int


def rows_of(sweep: Sweep, out: Path, *, url: str | None = None, check_variables: bool = True) -> list[SweepRow]:
    """All rows in their order, with runs below `out`; within a row of the file, seeds are the slowest to change.

    url: where those who run the rows find the same folder, unless all see it at its path.

    Raises:
        RecipeError: a recipe cannot be had with these overrides, two rows are the same, or a row takes tickets from one
            that is not there or comes later; with file and line.
    """
    drafts = list(_drafts(sweep))
    seen: dict[str, _Draft] = {}
    rows = []
    for draft in drafts:
        if draft.id in seen:
            raise RecipeError(f"{_line(sweep, draft)}: the run {draft.id} is there twice; name its row, or remove one")
        rows.append(_row(sweep, draft, seen, out, url or str(out.resolve()), check_variables))
        seen[draft.id] = draft
    x = sweep.spec.x
    if x is not None and all(row.choices[x].number is None for row in rows if row.shown and x in row.choices):
        line = sweep.document.line_of(("x",))
        raise RecipeError(
            f"{sweep.document.source}, line {line}: x: '{x}' has no numbers in any shown row; leave x out"
        )
    return rows


def _drafts(sweep: Sweep) -> Iterator[_Draft]:
    for place, spec in enumerate(sweep.spec.row_list()):
        axes = sweep.spec.axes_of(spec)
        values = [_choices(axis) for axis in axes.values()]
        for seed, combination in itertools.product(sweep.spec.seeds_of(spec), itertools.product(*values)):
            words = [spec.name, *(choice.label for choice in combination), f"seed{seed}"]
            name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word).strip("_") or "none" for word in words)
            yield _Draft(name, place, spec, dict(zip(axes, combination, strict=True)), seed)


def _row(
    sweep: Sweep, draft: _Draft, before: dict[str, _Draft], out: Path, place: str, check_variables: bool
) -> SweepRow:
    given = {**sweep.spec.set, **draft.spec.set, **{key: one.value for key, one in draft.choices.items()}}
    needs: dict[str, None] = {}

    def path_of(match: re.Match[str]) -> str:
        needed = _needed(sweep, draft, match[1], list(before.values()))
        needs[needed.id] = None
        return inside(place, RUNS, needed.id)

    given = _replaced(given, path_of)
    settings = {**given, "training.seed": draft.seed, "name": draft.id, "controls": {"random": [], "reinit": []}}
    recipe = _recipe(sweep, draft, settings, check_variables)
    recipe = _with_controls(recipe, sweep.spec.controls_of(draft.spec))
    return SweepRow(
        id=draft.id,
        name=draft.spec.name,
        choices=draft.choices,
        seed=draft.seed,
        settings=given,
        shown=draft.spec.shown,
        run=out / RUNS / draft.id,
        place=inside(place, RUNS, draft.id),
        recipe=recipe,
        needs=tuple(needs),
        resources=sweep.spec.resources_of(draft.spec),
    )


def _recipe(sweep: Sweep, draft: _Draft, settings: Overrides, check_variables: bool) -> Recipe:
    """The recipe with overrides; errors begin with the line of the sweep that they are about."""
    name = draft.spec.recipe or sweep.spec.recipe
    beside = sweep.folder / name
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    try:
        file = beside if beside.suffix in (".yaml", ".yml") and beside.is_file() else recipe_file(name)
        return load_recipe(file, overrides, check_variables=check_variables, option="set ")
    except RecipeError as error:
        key = next((key for key in settings if f"set {key}=" in str(error)), None)
        raise RecipeError(f"{_line(sweep, draft, key)}: row '{draft.id}': {error}") from error


def _with_controls(recipe: Recipe, kinds: Sequence[str]) -> Recipe:
    """The recipe with the controls of its last level, which the sweep compares; the plan's rules hold again."""
    level = recipe.pruning.level_list()[-1]
    controls = recipe.controls.model_copy(update={kind: [level] for kind in kinds})
    return recipe.model_copy(update={"controls": controls})


def _needed(sweep: Sweep, draft: _Draft, name: str, before: list[_Draft]) -> _Draft:
    """The row called `name` that has this row's values on the axes that both have, and its seed or its only one."""
    where = f"{_line(sweep, draft)}: row '{draft.id}'"
    named = [one for one in before if one.spec.name == name and one.place != draft.place]
    if not named:
        names = dict.fromkeys(one.spec.name for one in before if one.place != draft.place)
        known = did_you_mean(name, names) if names else "; there is none before it"
        raise RecipeError(f"{where} takes tickets from ${{rows.{name}}}, but no earlier row is called so{known}")
    fitting = [
        one
        for one in named
        if all(one.choices[key].value == choice.value for key, choice in draft.choices.items() if key in one.choices)
    ]
    if len(fitting) > 1:
        fitting = [one for one in fitting if one.seed == draft.seed]
    if len(fitting) != 1:
        ids = ", ".join(one.id for one in named)
        raise RecipeError(
            f"{where} takes tickets from ${{rows.{name}}}, of which {len(fitting)} runs have its axes' values and its "
            f"seed; there must be one, there are {ids}"
        )
    return fitting[0]


def _replaced(value: Any, path_of: Callable[[re.Match[str]], str]) -> Any:
    """A copy of plain data with the references in its texts filled in."""
    if isinstance(value, str):
        return _REFERENCE.sub(path_of, value)
    if isinstance(value, list):
        return [_replaced(item, path_of) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, path_of) for key, item in value.items()}
    return value


def _choices(axis: Axis) -> list[Choice]:
    values = list(axis.values()) if isinstance(axis, dict) else axis
    labels = list(axis) if isinstance(axis, dict) else [_label(value) for value in values]
    numbers = _numbers(values)
    return [Choice(*one) for one in zip(labels, values, numbers, strict=True)]


def _label(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_label(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_label, value)) or "none"
    return "none" if value is None else str(value)


def _numbers(values: Sequence[Any]) -> list[float | None]:
    """The number in each value: itself, the last of a list, or the one part in which mappings of numbers differ."""
    if all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        differing = [key for key in values[0] if any(value[key] != values[0][key] for value in values)]
        if len(differing) == 1:
            values = [value[differing[0]] for value in values]
    values = [value[-1] if isinstance(value, list) and value else value for value in values]
    return [float(v) if isinstance(v, int | float) and not isinstance(v, bool) else None for v in values]


def _line(sweep: Sweep, draft: _Draft, key: str | None = None) -> str:
    """File and line of a row of the sweep, or of one of its keys."""
    document = sweep.document
    places: list[tuple[str | int, ...]] = [("rows", draft.place)]
    if key is not None:
        own = ("rows", draft.place)
        places = [(*own, "axes", key), (*own, "set", key), ("axes", key), ("set", key), *places]
    path = next((place for place in places if place in document.lines), ())
    return f"{document.source}, line {document.line_of(path)}"
