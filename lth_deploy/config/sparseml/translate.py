"""A recipe of SparseML as sections of a recipe of this package: what fits, what is near, and what does not go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lth_deploy.config.sparseml.document import Modifier, SparseMLRecipe
from lth_deploy.config.sparseml.learning_rate import learning_rate
from lth_deploy.config.sparseml.modifiers import check_known
from lth_deploy.config.sparseml.pruning import pruning_section
from lth_deploy.config.sparseml.values import number, refuse
from lth_deploy.errors import RecipeError

_QUANTIZATION = ("QuantizationModifier", "LegacyQuantizationModifier")


@dataclass(frozen=True)
class Translation:
    """Sections of a recipe, and in sentences what they only approximate or leave out."""

    sections: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def onto(self, base: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A recipe called `name`: detector, data and what else SparseML's recipes do not say are those of `base`."""
        training = {key: value for key, value in base["training"].items() if key not in ("steps", "epochs")}
        own = dict(self.sections["training"])
        if "optimizer" in own:
            own["optimizer"] = {**training.get("optimizer", {}), **own["optimizer"]}
        kept = {key: value for key, value in base.items() if key not in ("pruning", "controls", "quantization")}
        return {**kept, "name": name, **self.sections, "training": {**training, **own}}


def translate(recipe: SparseMLRecipe) -> Translation:
    """The sections `training`, `pruning` and `quantization` that do what `recipe` says.

    Raises:
        RecipeError: something has no counterpart; names every such modifier with its line.
    """
    notes = check_known(recipe)
    end = _last_epoch(recipe, notes)
    quantization = _one(recipe, _QUANTIZATION)
    trained = end if quantization is None else number(recipe, quantization, "start_epoch", default=0.0)
    if not 0 < trained <= end:
        place = f"line {quantization.line}" if quantization else "EpochRangeModifier"
        raise RecipeError(f"{recipe.source}, {place}: no epoch is left to train in before quantization begins")
    training: dict[str, Any] = {"epochs": max(1, round(trained))}
    if training["epochs"] != trained:
        notes.append(f"training lasts {trained:g} epochs there, {training['epochs']} here, which counts whole ones")
    training |= learning_rate(recipe, trained, notes)
    sections: dict[str, dict[str, Any]] = {"training": training}
    decay = _one(recipe, ("SetWeightDecayModifier",))
    if decay is not None:
        training.setdefault("optimizer", {})["weight_decay"] = number(recipe, decay, "weight_decay")
    _check_trainable(recipe)
    pruning = pruning_section(recipe, trained, notes)
    if pruning is None:
        raise RecipeError(
            f"{recipe.source}: no modifier prunes, and a recipe here searches a ticket; add MagnitudePruningModifier"
        )
    sections["pruning"] = pruning
    if quantization is not None:
        sections["quantization"] = _quantization(recipe, quantization, trained, end, pruning["levels"])
    return Translation(sections, notes)


def _last_epoch(recipe: SparseMLRecipe, notes: list[str]) -> float:
    span = _one(recipe, ("EpochRangeModifier",))
    if span is not None:
        begin = number(recipe, span, "start_epoch", default=0.0)
        if begin > 0:
            notes.append(f"line {span.line_of('start_epoch')}: epochs are counted from {begin:g} there, from 0 here")
        end = number(recipe, span, "end_epoch")
        if end <= 0:
            refuse(recipe, span, "end_epoch", "the training has no end; give its last epoch")
        return end
    ends = [number(recipe, one, "end_epoch", default=-1.0) for one in recipe.modifiers]
    if max(ends, default=-1.0) <= 0:
        raise RecipeError(f"{recipe.source}: nothing says how long the training is; add EpochRangeModifier")
    notes.append(f"there is no EpochRangeModifier: training ends with the last modifier, after epoch {max(ends):g}")
    return max(ends)


def _one(recipe: SparseMLRecipe, names: Sequence[str]) -> Modifier | None:
    """The only modifier of these names.

    Raises:
        RecipeError: there is a second one.
    """
    found = [one for one in recipe.modifiers if one.name in names]
    if len(found) > 1:
        raise RecipeError(
            f"{recipe.source}, line {found[1].line}: a second {found[1].name} has no counterpart; keep one"
        )
    return found[0] if found else None


def _check_trainable(recipe: SparseMLRecipe) -> None:
    for one in recipe.modifiers:
        if one.name == "TrainableParamsModifier" and one.values.get("trainable", True) is not True:
            refuse(
                recipe, one, "trainable", "parameters that do not learn are chosen by detector.frozen_layers here, "
                "which counts stages of the backbone; take the modifier out and set that key"
            )  # fmt: skip


def _quantization(
    recipe: SparseMLRecipe, modifier: Modifier, trained: float, end: float, levels: list[float]
) -> dict[str, Any]:
    epochs = max(1, round(end - trained))
    found: dict[str, Any] = {"levels": levels, "epochs": epochs}
    frozen = number(recipe, modifier, "disable_quantization_observer_epoch", default=end)
    if end > trained:
        found["freeze_ranges_at"] = round(min(max((frozen - trained) / (end - trained), 0.0), 1.0), 6)
    return found
