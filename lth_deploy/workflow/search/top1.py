"""Scoring a classifier over a data set whose images have one object each, its class."""

from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe
from lth_deploy.evaluation.accuracy import correct, paired_accuracy

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.records import CocoDataset
    from lth_deploy.evaluation.bootstrap import Interval

Answers = dict[int, list[int]]


def top_accuracy(
    model: "nn.Module", dataset: "CocoDataset", device: "torch.device", split: str | None = None
) -> dict[str, dict[str, float]]:
    """Share of images whose class is the first answer, as `AP`, the headline figure of every kind; and among five.

    split: see `detect`.
    """
    truth, answers = true_labels(dataset), _answers(model, dataset, device, split)
    return {"top1": {"AP": float(correct(truth, answers, 1).mean()), "top5": float(correct(truth, answers, 5).mean())}}


def accuracy_interval(
    models: "tuple[nn.Module, nn.Module]",
    dataset: "CocoDataset",
    device: "torch.device",
    recipe: Recipe,
    split: str | None = None,
) -> "Interval":
    """Interval of the first model's accuracy minus the second's. split: see `detect`."""
    truth = true_labels(dataset)
    first, second = (correct(truth, _answers(model, dataset, device, split), 1) for model in models)
    return paired_accuracy(first, second, recipe.selection.bootstrap_samples, recipe.training.seed)


def true_labels(dataset: "CocoDataset") -> dict[int, int]:
    """Label by image id, of a data set whose images have one object each."""
    return {record.id: dataset.labels[dataset.annotations[record.id][0].category_id] for record in dataset.images}


def _answers(model: "nn.Module", dataset: "CocoDataset", device: "torch.device", split: str | None) -> Answers:
    from lth_deploy.workflow.search.torch_detect import detect

    return {image: one.labels.tolist() for image, one in detect(model, dataset, device, split=split).items()}
