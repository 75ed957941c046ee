"""A recipe of this package as one that SparseML 1.8 loads, where its pruning has a counterpart there."""

from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.sparseml.pruning import STRUCTURES
from lth_deploy.errors import RecipeError

_NAMES = {ours: theirs for theirs, ours in STRUCTURES.items()}


@dataclass(frozen=True)
class Written:
    """A recipe of SparseML as text, and in sentences what it leaves out."""

    text: str
    notes: list[str]


@dataclass(frozen=True)
class _Block:
    """One modifier."""

    name: str
    values: dict[str, object]

    def __str__(self) -> str:
        lines = [f"  - !{self.name}"]
        for key, value in self.values.items():
            lines += [f"    {key}:", *(f"      - {item}" for item in value)] if isinstance(value, list) else []
            lines += [] if isinstance(value, list) else [f"    {key}: {_text(value)}"]
        return "\n".join(lines)


def write_recipe(recipe: Recipe, layers: Sequence[str], steps_per_epoch: int | None) -> Written:
    """Tagged YAML whose modifiers make the zeros of `recipe`.

    Args:
        recipe: prunes gradually (schedule cubic) to one level.
        layers: names of the parameters that it may prune.
        steps_per_epoch: optimizer steps of an epoch, for recipes that count steps.

    Raises:
        RecipeError: something of its pruning has no counterpart, or `steps_per_epoch` is needed.
    """
    _check(recipe)
    epochs = _epochs(recipe, steps_per_epoch)
    notes = ["the optimizer, its momentum and the augmentation of images are your training script's"]
    blocks = [*_rates(recipe, epochs, notes)]
    blocks.append(
        _Block("SetWeightDecayModifier", {"start_epoch": 0.0, "weight_decay": recipe.training.optimizer.weight_decay})
    )
    blocks.append(_pruning(recipe, layers, epochs, steps_per_epoch))
    last = epochs
    if recipe.quantization.levels:
        last = epochs + _quantized_epochs(recipe, epochs, steps_per_epoch)
        frozen = epochs + recipe.quantization.freeze_ranges_at * (last - epochs)
        blocks.append(
            _Block("QuantizationModifier", {"start_epoch": epochs, "disable_quantization_observer_epoch": frozen})
        )
        notes.append("QuantizationModifier quantizes by SparseML's own scheme")
    head = _Block("EpochRangeModifier", {"start_epoch": 0.0, "end_epoch": last})
    body = "\n\n".join(str(block) for block in (head, *blocks))
    return Written(f"# {recipe.name}, for SparseML 1.8\nversion: 1.1.0\n\nmodifiers:\n{body}\n", notes)


def _check(recipe: Recipe) -> None:
    """Raise unless SparseML has modifiers for this pruning."""
    pruning = recipe.pruning
    faults = []
    if pruning.schedule != "cubic":
        faults.append(f"schedule '{pruning.schedule}' (SparseML prunes within one training, as schedule cubic does)")
    if len(pruning.level_list()) > 1:
        faults.append(f"{len(pruning.level_list())} levels (one training there ends with one)")
    if pruning.allocation not in ("global", "per_layer"):
        faults.append(f"allocation '{pruning.allocation}'")
    if pruning.structure not in _NAMES:
        faults.append(f"structure '{pruning.structure}'")
    if pruning.criterion != "magnitude":
        faults.append(f"criterion '{pruning.criterion}'")
    if pruning.structure == "in4" and pruning.block_score != "l1":
        faults.append("block_score other than l1 (SparseML takes the mean of a block)")
    if recipe.source is not None:
        faults.append("source")
    if faults:
        raise RecipeError(f"SparseML has no counterpart for pruning with {', '.join(faults)}")


def _epochs(recipe: Recipe, steps_per_epoch: int | None) -> float:
    if recipe.training.epochs is not None:
        return float(recipe.training.epochs)
    return (recipe.training.steps or 0) / _needed(steps_per_epoch, "training.steps")


def _needed(steps_per_epoch: int | None, key: str) -> int:
    if steps_per_epoch is None:
        raise RecipeError(f"{key} counts optimizer steps, and SparseML epochs: give --steps-per-epoch")
    return steps_per_epoch


def _quantized_epochs(recipe: Recipe, epochs: float, steps_per_epoch: int | None) -> float:
    spec = recipe.quantization
    if spec.epochs is not None:
        return float(spec.epochs)
    return epochs / 8 if spec.steps is None else spec.steps / _needed(steps_per_epoch, "quantization.steps")


def _rates(recipe: Recipe, epochs: float, notes: list[str]) -> list[_Block]:
    rate, schedule = recipe.training.optimizer.lr, recipe.training.schedule
    if schedule.warmup_steps:
        notes.append("training.schedule.warmup_steps is left out")
    if schedule.name == "cosine":
        values = {"lr_func": "cosine", "init_lr": rate, "final_lr": 0.0, "start_epoch": 0.0, "end_epoch": epochs}
        return [_Block("LearningRateFunctionModifier", values)]
    if schedule.name == "one_cycle":
        notes.append("schedule one_cycle has no counterpart: set the learning rate in your training script")
        return []
    blocks = [_Block("SetLearningRateModifier", {"start_epoch": 0.0, "learning_rate": rate})]
    for milestone in schedule.milestones if schedule.name == "step" else ():
        rate *= schedule.gamma
        blocks.append(_Block("SetLearningRateModifier", {"start_epoch": milestone * epochs, "learning_rate": rate}))
    return blocks


def _pruning(recipe: Recipe, layers: Sequence[str], epochs: float, steps_per_epoch: int | None) -> _Block:
    pruning, cubic = recipe.pruning, recipe.pruning.cubic
    begin, end = cubic.begin * epochs, cubic.end * epochs
    if cubic.updates is not None:
        frequency = (end - begin) / cubic.updates
    else:
        frequency = cubic.every / _needed(steps_per_epoch, "pruning.cubic.every")
    name = "GlobalMagnitudePruningModifier" if pruning.allocation == "global" else "MagnitudePruningModifier"
    values = {
        "init_sparsity": 0.0,
        "final_sparsity": pruning.level_list()[0],
        "start_epoch": begin,
        "end_epoch": end,
        "update_frequency": frequency,
        "inter_func": "cubic",
        "mask_type": _NAMES[pruning.structure],
        "leave_enabled": True,
        "params": list(layers),
    }
    return _Block(name, values)


def _text(value: object) -> str:
    # PyYAML reads 1e-05 as text, and 1.0e-05 as a number.
    text = str(value)
    mantissa, _, exponent = text.partition("e")
    if isinstance(value, float) and exponent and "." not in mantissa:
        return f"{mantissa}.0e{exponent}"
    return ("true" if value else "false") if isinstance(value, bool) else text
