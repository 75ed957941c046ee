"""Modifiers that prune as the section `pruning`: a rise of the sparsity within one training."""

from collections.abc import Mapping
from typing import Any

from lth_deploy.config.sparseml.document import Modifier, SparseMLRecipe
from lth_deploy.config.sparseml.values import number, refuse

STRUCTURES = {"unstructured": "single", "block": "in4", "block4": "in4"}
"""Types of masks there, and structures here."""
_GLOBAL = {"GlobalMagnitudePruningModifier": True, "OBSPruningModifier": True}
"""Modifiers that rank all layers together unless they say otherwise."""
ALL_PRUNABLE = "__ALL_PRUNABLE__"


def pruning_section(recipe: SparseMLRecipe, epochs: float, notes: list[str]) -> dict[str, Any] | None:
    """The section for a training of `epochs` epochs; None where nothing prunes.

    Raises:
        RecipeError: a value has no counterpart, or two modifiers prune in two ways.
    """
    found: dict[str, Any] | None = None
    for one in recipe.modifiers:
        if not one.name.endswith("PruningModifier"):
            continue
        include = _include(recipe, one, notes)
        section = _section(recipe, one, epochs, notes)
        if found is None:
            found = {**section, "include": include}
            continue
        different = [key for key in section if section[key] != found[key]]
        if different:
            refuse(
                recipe, one, "final_sparsity" if "levels" in different else "params",
                f"prunes other layers with other {' and '.join(different)} than the modifier before; a recipe here "
                "prunes all its layers to one level in one way: let pruning.allocation spread it (global, erk, macs)",
            )  # fmt: skip
        if section["allocation"] == "global":
            notes.append(f"line {one.line}: its layers are ranked together with those of the modifier before")
        found["include"] = [*found["include"], *include]
    if found is not None and found["include"] == ["*"]:
        del found["include"]
    return found


def _section(recipe: SparseMLRecipe, one: Modifier, epochs: float, notes: list[str]) -> dict[str, Any]:
    begin = max(number(recipe, one, "start_epoch", default=0.0), 0.0)
    end = number(recipe, one, "end_epoch")
    if end <= begin:
        refuse(recipe, one, "end_epoch", "the sparsity does not rise over any epoch; pruning.schedule one_shot prunes "
               "at once and trains after it")  # fmt: skip
    if end > epochs:
        refuse(recipe, one, "end_epoch", f"pruning ends after the {epochs:g} epochs of the training without "
               "quantization")  # fmt: skip
    frequency = number(recipe, one, "update_frequency", default=-1.0)
    cubic: dict[str, Any] = {"begin": round(begin / epochs, 6), "end": round(end / epochs, 6)}
    if frequency > 0:
        cubic["updates"] = max(1, round((end - begin) / frequency))
    else:
        notes.append(f"line {one.line}: the sparsity rises with every step there, every 100 steps here")
    _say_differences(one, notes)
    structure = _structure(recipe, one)
    section = {
        "schedule": "cubic",
        "levels": [_level(recipe, one)],
        "cubic": cubic,
        "allocation": "global" if _is_global(one) else "per_layer",
        "structure": structure,
        "rewind": {"step": 0},
    }
    if structure == "in4":
        section["block_score"] = "l1"  # the mean, as there
    return section


def _level(recipe: SparseMLRecipe, one: Modifier) -> float:
    value = one.values.get("final_sparsity")
    if isinstance(value, Mapping):
        if len(value) != 1:
            refuse(recipe, one, "final_sparsity", f"prunes {len(value)} lists of layers to different levels; a recipe "
                   "here has one level: let pruning.allocation spread it (global, erk, macs)")  # fmt: skip
        return _share(recipe, one, next(iter(value)))
    return _share(recipe, one, value)


def _share(recipe: SparseMLRecipe, one: Modifier, value: object) -> float:
    try:
        # The keys of a mapping are text.
        share = float(value) if isinstance(value, str | float) else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        refuse(recipe, one, "final_sparsity", f"a share between 0 and 1 is needed, found {value!r:.60}")
    return share


def _is_global(one: Modifier) -> bool:
    given = one.values.get("global_sparsity", one.values.get("apply_globally"))
    return given if isinstance(given, bool) else _GLOBAL.get(one.name, False)


def _structure(recipe: SparseMLRecipe, one: Modifier) -> str:
    value = one.values.get("mask_type", "unstructured")
    if value == [1, 4] or value == "block:1,4":
        value = "block4"
    if not isinstance(value, str) or value not in STRUCTURES:
        refuse(recipe, one, "mask_type", f"{value!r:.40} has no counterpart; choose among {', '.join(STRUCTURES)}")
    return STRUCTURES[value]


def _include(recipe: SparseMLRecipe, one: Modifier, notes: list[str]) -> list[str]:
    """Patterns over the names of layers for `params`, which are names of parameters."""
    params = one.values.get("params", ALL_PRUNABLE)
    final = one.values.get("final_sparsity")
    if isinstance(final, Mapping) and len(final) == 1:
        params = next(iter(final.values()))
    params = [params] if isinstance(params, str) else params
    if not isinstance(params, list) or not params or not all(isinstance(param, str) for param in params):
        refuse(recipe, one, "params", f"a list of names is needed, found {params!r:.60}")
    if ALL_PRUNABLE in params:
        notes.append(
            f"line {one.line_of('params')}: {ALL_PRUNABLE} prunes every convolution and linear layer there; here final "
            "predictors stay dense unless pruning.groups names them"
        )
        return ["*"]
    return [_pattern(recipe, one, param) for param in params]


def _pattern(recipe: SparseMLRecipe, one: Modifier, param: str) -> str:
    if param.startswith("re:"):
        return param
    if param == "__ALL__" or not param.endswith(".weight"):
        refuse(recipe, one, "params", f"'{param[:80]}': only weights of convolutions and linear layers are pruned; "
               "name those, or __ALL_PRUNABLE__")  # fmt: skip
    return param.removesuffix(".weight")


def _say_differences(one: Modifier, notes: list[str]) -> None:
    values = one.values
    function = values.get("inter_func", values.get("update_scheduler", "cubic"))
    if function != "cubic":
        notes.append(f"line {one.line_of('inter_func')}: the {function} rise is approximated by a cubic one")
    initial = values.get("init_sparsity")
    if initial not in (None, 0, 0.0):
        notes.append(f"line {one.line_of('init_sparsity')}: the sparsity begins at {initial} there, at 0 here")
    if values.get("leave_enabled") is False:
        notes.append(f"line {one.line_of('leave_enabled')}: the zeros are kept to the end of the training here")
    if one.name in ("MFACPruningModifier", "OBSPruningModifier"):
        notes.append(f"line {one.line}: {one.name} scores weights to the second order; here magnitude scores them")
    score = values.get("score_type", "magnitude")
    if score != "magnitude":
        notes.append(f"line {one.line_of('score_type')}: the score '{score}' is approximated by magnitude")
