"""The search itself: shares are tried and held to bounds, whatever a model is and however AP is measured."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lth_deploy.errors import DataError, GateError, UnreachableSparsityError
from lth_deploy.evaluation.ap_loss import Scores, ap_losses
from lth_deploy.workflow.export.share_search.bisection import largest, most_tries
from lth_deploy.workflow.export.share_search.state import SearchState
from lth_deploy.workflow.export.share_search.tries import Bounds, ShareSearch, Try, try_sentence

log = logging.getLogger(__name__)

M = TypeVar("M")

BOXES = "bbox"
"""The kind of AP that is searched with."""


@dataclass(frozen=True)
class Candidates(Generic[M]):
    """What is tried.

    pruned: the model with a share of zeros, as it is with none. zeros: share that a model has. float_ap: AP of a model
    in float32. ap: AP as the file will have it, quantized first where the file will be int8, with as much care as it
    takes until the function that it is given says that it is enough. None where there are no data.
    """

    pruned: Callable[[float], M]
    zeros: Callable[[M], float]
    float_ap: Callable[[M], Scores | None]
    ap: Callable[[M, Callable[[Scores], bool]], Scores | None]


def find_share(
    candidates: Candidates[M],
    most_drop: float,
    int8_drop: float | None,
    state: SearchState,
    kept: Callable[[int, M], None] = lambda percent, model: None,
) -> ShareSearch:
    """The largest share of zeros, in whole per cent, with which the model keeps its AP.

    most_drop: AP that it may lose to the dense model. int8_drop: AP that int8 may cost; None for floats. state: what is
    known, and where what is measured goes. kept: gets each model that was seen to keep its AP, the largest share last.

    Raises:
        DataError: the dense model has no AP to lose. GateError: no share keeps it.
    """
    trial = _Search(candidates, Bounds(_dense_ap(candidates, state), most_drop, int8_drop), state, kept)
    if int8_drop is not None and not trial.keeps(0):
        raise GateError(_lost("int8 without zeros", trial, 0, "keep layers float or calibrate on more images"))
    percent = largest(trial.keeps)
    if percent == 0 and 1 not in trial.tries:
        raise UnreachableSparsityError(
            "not even 1 % zeros can be reached: each layer keeps a block for each group of its outputs; use a finer "
            "--structure"
        )
    if percent == 0:
        raise GateError(_lost("1 % zeros", trial, 1, "calibrate on more images, or search a ticket with find-ticket"))
    return ShareSearch(percent, trial.bounds, tuple(trial.tries[key] for key in sorted(trial.tries)))


def _lost(what: str, trial: "_Search[M]", percent: int, advice: str) -> str:
    one, bounds = trial.tries[percent], trial.bounds
    if bounds.lost(one.last_ap):
        reason = f"more than the {100 * bounds.most_drop:g} that --max-ap-drop allows"
    else:
        reason = f"and int8 costs more than the {100 * (bounds.int8_drop or 0):g} of gates.int8_ap_drop in the target"
    return (
        f"no share of zeros keeps the AP: {what} has {100 * (one.last_ap or 0):.1f} of the dense model's "
        f"{100 * bounds.dense_ap:.1f}, {reason}; allow more, {advice}. Nothing was written"
    )


def _dense_ap(candidates: Candidates[M], state: SearchState) -> float:
    if state.dense_ap is None:
        found = _box_ap(candidates.float_ap(candidates.pruned(0.0)))
        if found is not None:
            state.found_dense(found)
    if not state.dense_ap:
        raise DataError(
            "the dense model has no AP on these annotations (0.0), so none can be lost; check that they belong to the "
            "images, that classes have the same names, and --decoder. Nothing was written"
        )
    log.info("the dense model has AP %.1f", 100 * state.dense_ap)
    return state.dense_ap


class _Search(Generic[M]):
    """Tries of one search. tries: those that it looked at, by their share."""

    def __init__(
        self, candidates: Candidates[M], bounds: Bounds, state: SearchState, kept: Callable[[int, M], None]
    ) -> None:
        self._candidates, self.bounds, self._state, self._kept = candidates, bounds, state, kept
        self._most = most_tries() + (bounds.int8_drop is not None)
        self.tries: dict[int, Try] = {}

    def keeps(self, percent: int) -> bool:
        """Whether the model can have this share, and keeps its AP with it."""
        known = self._state.tries.get(percent)
        if known is None or not self.bounds.decides(known):
            log.info("try %d of at most %d: %d %% zeros", len(self.tries) + 1, self._most, percent)
            try:
                known = self._measured(percent)
            except UnreachableSparsityError as error:
                log.info("%d %% zeros cannot be reached: %s", percent, error)
                return False
            self._state.tried(known)
        log.info("try %d of at most %d: %s", len(self.tries) + 1, self._most, try_sentence(self.bounds, known))
        self.tries[percent] = known
        return self.bounds.keeps(known)

    def _measured(self, percent: int) -> Try:
        model = self._candidates.pruned(percent / 100)
        zeros = self._candidates.zeros(model)
        if self.bounds.int8_drop is None:
            known = Try(percent, zeros, None, _box_ap(self._candidates.ap(model, lambda _: True)))
        else:
            known = self._measured_int8(model, percent, zeros)
        if self.bounds.keeps(known):
            self._kept(percent, model)
        return known

    def _measured_int8(self, model: M, percent: int, zeros: float) -> Try:
        floats = self._candidates.float_ap(model)
        if floats is None or self.bounds.lost(floats.ap(BOXES)):
            return Try(percent, zeros, _box_ap(floats), None)

        def of(found: Scores) -> Try:
            intervals = [loss.interval for loss in ap_losses(floats, found)]
            low = next((interval.low for interval in intervals if interval is not None), None)
            return Try(percent, zeros, floats.ap(BOXES), found.ap(BOXES), low)

        found = self._candidates.ap(model, lambda scores: self.bounds.keeps(of(scores), strict=True))
        return Try(percent, zeros, floats.ap(BOXES), None) if found is None else of(found)


def _box_ap(found: Scores | None) -> float | None:
    return None if found is None else found.ap(BOXES)
