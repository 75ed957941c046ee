"""What each modifier of SparseML 1.8 may hold, and which of it has a counterpart here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lth_deploy.config.sparseml.document import Modifier, SparseMLRecipe
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean

_GRADUAL = ("init_sparsity", "final_sparsity", "start_epoch", "end_epoch", "update_frequency", "params")
_MASKED = {"inter_func": "", "mask_type": "", "leave_enabled": "", "log_types": "", "score_type": ""}
_FISHER = dict.fromkeys(
    ("num_grads", "damp", "fisher_block_size", "grad_sampler_kwargs", "num_recomputations", "num_pages",
     "available_devices", "grads_device", "use_gradient_buffering", "mask_update_frequency"),
    "belongs to scores of second order",
)  # fmt: skip
_STAGED = {"update_scheduler": "", "scheduler_args": "", "apply_globally": "", "update": ""}
_QUANTIZED = dict.fromkeys(
    ("scheme", "scheme_overrides", "ignore", "submodules", "exclude_module_types", "custom_quantizable_module_types",
     "model_fuse_fn_name", "model_fuse_fn_kwargs", "num_calibration_steps", "strict", "quantize_embeddings",
     "reduce_range", "quantize_linear_activations", "quantize_conv_activations", "quantize_embedding_activations",
     "activation_bits", "weight_bits", "exclude_batchnorm", "activation_qconfig_kwargs", "weight_qconfig_kwargs",
     "tensorrt", "post_oneshot_calibration"),
    "every layer but those in quantization.float_layers becomes INT8, in the form of docs/int8.md",
)  # fmt: skip
_FOLDED = "norms are folded before the fine-tuning, so that their statistics stay from its first step on"


@dataclass(frozen=True)
class Known:
    """A modifier: the keys that are translated, and those that are left out with the reason, if any, that is given.

    refused: why the modifier as a whole has no counterpart.
    """

    keys: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


_MAGNITUDE = Known((*_GRADUAL, "global_sparsity"), {**_MASKED, **_STAGED})
_SECOND_ORDER = Known((*_GRADUAL, "global_sparsity"), {**_MASKED, **_FISHER})
KNOWN: dict[str, Known] = {
    "GMPruningModifier": _MAGNITUDE,
    "MagnitudePruningModifier": _MAGNITUDE,
    "GlobalMagnitudePruningModifier": _MAGNITUDE,
    "MFACPruningModifier": _SECOND_ORDER,
    "OBSPruningModifier": _SECOND_ORDER,
    "ACDCPruningModifier": Known(
        refused="alternates dense and sparse phases, which no schedule here does; take MagnitudePruningModifier, or "
        "write a recipe with pruning.schedule levels, which also lets weights recover between two prunings"
    ),
    "ConstantPruningModifier": Known(
        refused="keeps the zeros that a checkpoint has, and searches none; lth_deploy.hold(model, optimizer, "
        "lth_deploy.masks_of(checkpoint)) does that in your own loop"
    ),
    "EpochRangeModifier": Known(("start_epoch", "end_epoch")),
    "SetLearningRateModifier": Known(
        ("learning_rate", "start_epoch"), {"end_epoch": "", "constant_logging": "", "param_groups": "there is one rate"}
    ),
    "LearningRateFunctionModifier": Known(
        ("lr_func", "init_lr", "final_lr", "start_epoch", "end_epoch"),
        {"update_frequency": "", "cycle_epochs": "there is one cycle", "param_groups": "there is one rate"},
    ),
    "SetWeightDecayModifier": Known(
        ("weight_decay", "start_epoch"), {"end_epoch": "", "constant_logging": "", "param_groups": ""}
    ),
    "TrainableParamsModifier": Known(("params", "trainable", "params_strict", "start_epoch", "end_epoch")),
    "QuantizationModifier": Known(
        ("start_epoch", "disable_quantization_observer_epoch"),
        {**_QUANTIZED, "freeze_bn_stats_epoch": _FOLDED, "end_epoch": ""},
    ),
    "LegacyQuantizationModifier": Known(
        ("start_epoch", "disable_quantization_observer_epoch"),
        {**_QUANTIZED, "freeze_bn_stats_epoch": _FOLDED, "end_epoch": ""},
    ),
}


def check_known(recipe: SparseMLRecipe) -> list[str]:
    """Refuse modifiers and keys that have no counterpart; what is left out of the others, in sentences.

    Raises:
        RecipeError: lists all of them, by name and line.
    """
    faults, notes = [], []
    for modifier in recipe.modifiers:
        known = KNOWN.get(modifier.name)
        at = f"{recipe.source}, line {modifier.line}: {modifier.name}"
        if known is None:
            faults.append(f"{at} is no modifier that has a counterpart here{did_you_mean(modifier.name, KNOWN)}")
        elif known.refused:
            faults.append(f"{at} {known.refused}")
        else:
            faults += _unknown_keys(recipe, modifier, known)
            notes += [
                f"line {modifier.line_of(key)}: {modifier.name}.{key} is left out: {reason}"
                for key, reason in known.left_out.items()
                if reason and modifier.values.get(key) not in (None, [], {})
            ]
    if faults:
        raise RecipeError("\n".join(faults))
    return notes


def _unknown_keys(recipe: SparseMLRecipe, modifier: Modifier, known: Known) -> list[str]:
    valid = [*known.keys, *known.left_out]
    return [
        f"{recipe.source}, line {modifier.line_of(key)}: {modifier.name}.{key}: unknown key{did_you_mean(key, valid)}"
        for key in modifier.values
        if key not in valid
    ]
