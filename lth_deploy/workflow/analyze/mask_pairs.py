"""How much the masks of the analyzed runs agree, pair by pair."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.errors import DataError
from lth_deploy.evaluation.mask_overlap import mask_overlap
from lth_deploy.mask import Masks
from lth_deploy.reporting.analysis.schema import LayerOverlap, Overlap
from lth_deploy.workflow.analyze.run_inputs import OpenedRun

_SHARED_MASKS = ("int8", "reinit")
"""Kinds of trial whose mask is that of their ticket."""


@dataclass(frozen=True)
class _Labelled:
    """A mask with the name that it has in results. random: whether it is a random control."""

    label: str
    run: OpenedRun
    masks: Masks
    random: bool


def mask_overlaps(runs: Sequence[OpenedRun]) -> tuple[list[Overlap], list[str]]:
    """The overlap of every pair of masks, tickets of different runs first; and notes on pairs that are left out.

    Two random masks are not compared: the seed shuffles them, so in two runs of one seed they overlap as
    much as their tickets do.
    """
    pairs = [pair for pair in itertools.combinations(_labelled(runs), 2) if not (pair[0].random and pair[1].random)]
    overlaps, notes = [], []
    for first, second in sorted(pairs, key=lambda pair: _sort_key(*pair)):
        try:
            overlaps.append(_overlap(first, second))
        except DataError as error:
            notes.append(f"Masks of {first.label} and {second.label}: {error}.")
    return overlaps, notes


def _labelled(runs: Sequence[OpenedRun]) -> list[_Labelled]:
    return [
        _Labelled(trial if len(runs) == 1 else f"{run.name}/{trial}", run, masks, run.results[trial].kind == "random")
        for run in runs
        for trial, masks in run.masks.items()
        if run.results[trial].kind not in _SHARED_MASKS
    ]


def _overlap(first: _Labelled, second: _Labelled) -> Overlap:
    """Compare two masks.

    Raises:
        DataError: they cannot be compared.
    """
    if first.run is not second.run and (first.run.reordered or second.run.reordered):
        raise DataError("a run has its channels in an order of its own (permute)")
    pair = mask_overlap(first.masks, second.masks)
    return Overlap(
        first=first.label,
        second=second.label,
        random=first.random or second.random,
        iou=pair.iou,
        by_chance=pair.by_chance,
        layers=[LayerOverlap.model_validate(layer, from_attributes=True) for layer in pair.layers],
        left_out=list(pair.left_out),
    )


def _sort_key(first: _Labelled, second: _Labelled) -> tuple[bool, bool]:
    """Pairs with a random control come after tickets, and pairs within a run after those of two runs."""
    return first.random or second.random, first.run is second.run
