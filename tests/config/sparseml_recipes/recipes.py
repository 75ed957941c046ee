"""Recipes of SparseML in both dialects, and one that can become such, for tests."""

from typing import Any

from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import Recipe, recipe_from
from tests.config.recipes import MINIMAL

TAGGED = """\
version: 1.1.0
num_epochs: 30.0
prune_end: eval(num_epochs * 2 / 3)

training_modifiers:
  - !EpochRangeModifier
    start_epoch: 0.0
    end_epoch: eval(num_epochs)
  - !SetLearningRateModifier
    start_epoch: 0.0
    learning_rate: 0.01
  - !SetLearningRateModifier
    start_epoch: 15.0
    learning_rate: 0.002
  - !SetWeightDecayModifier
    start_epoch: 0.0
    weight_decay: 1e-4
  - !TrainableParamsModifier
    params: __ALL__
    trainable: True

pruning_modifiers:
  - !GMPruningModifier
    params:
      - re:backbone\\..*weight
      - head.classification_head.conv.0.0.weight
    init_sparsity: 0.0
    final_sparsity: 0.85
    start_epoch: 3.0
    end_epoch: eval(prune_end)
    update_frequency: 0.5
    mask_type: block4
"""
"""Every value has an exact counterpart."""

MARKDOWN = f"---\n{TAGGED}---\n# Sparse\n\n---\nprose\n"

STAGED = """\
pruning_stage:
  run_type: train
  num_epochs: 20
  pruning_modifiers:
    MagnitudePruningModifier:
      init_sparsity: 0.0
      final_sparsity: 0.8
      start: 0.0
      end: eval(num_epochs / 2)
      update_frequency: 1.0
      targets: __ALL_PRUNABLE__
      mask_structure: unstructured
      apply_globally: true
quantization_stage:
  quantization_modifiers:
    QuantizationModifier:
      start: 20.0
      disable_quantization_observer_epoch: 24.0
      ignore: [classifier]
  training_modifiers:
    EpochRangeModifier:
      start_epoch: 0.0
      end_epoch: 25.0
    LearningRateFunctionModifier:
      lr_func: linear
      init_lr: 0.02
      final_lr: 0.0
      start_epoch: 0.0
      end_epoch: 25.0
"""

PRUNING = """\
modifiers:
  - !EpochRangeModifier
    start_epoch: 0
    end_epoch: 10
  - !{name}
    params: [a.weight]
    init_sparsity: 0.0
    final_sparsity: 0.5
    start_epoch: 0
    end_epoch: 5
    update_frequency: 1
"""
"""One modifier, which begins in line 5."""

CUBIC = {"schedule": "cubic", "levels": [0.8], "rewind": {"step": 0}, "cubic": {"begin": 0.1, "end": 0.5, "updates": 8}}


def recipe(pruning: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    """A recipe of ten epochs that prunes gradually."""
    document = strict_yaml.parse(MINIMAL, "small").value
    document["training"] = {
        "epochs": 10,
        "optimizer": {"lr": 1e-5, "weight_decay": 5e-4},
        "schedule": {"name": "cosine"},
    }
    document["pruning"] = {**CUBIC, **(pruning or {})}
    return recipe_from(strict_yaml.parse(strict_yaml.dump({**document, **sections}), "small"))
