"""Summaries of training losses: first, last, their parts, and when a trial reached its control's last loss."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth_deploy.reporting.analysis.schema import LossCurve
from lth_deploy.reporting.plots import smooth
from lth_deploy.run.summary import TrialSummary

MOST_POINTS = 1000
_LAST_SHARE = 20


def thinned(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float | None]]:
    """Steps and losses of the records of a training, at most about `MOST_POINTS`."""
    every = max(1, len(records) // MOST_POINTS)
    return [(record["step"], record.get("loss")) for record in records[::every]]


def loss_curves(
    trials: Sequence[TrialSummary], parts: Mapping[str, dict[str, float]], control: str | None
) -> list[LossCurve]:
    """One for each trial that kept losses. parts: `last_parts` by trial; a step counts from the schedule's begin."""
    curves = {trial.name: smooth(trial.losses) for trial in trials}
    last = {name: curve[-1][1] for name, curve in curves.items() if curve}
    goal = last.get(control or "")
    found = []
    for name, curve in curves.items():
        if not curve:
            continue
        reached = (
            None if goal is None or name == control else next((step for step, loss in curve if loss <= goal), None)
        )
        found.append(
            LossCurve(
                trial=name,
                steps=curve[-1][0],
                first=curve[0][1],
                last=last[name],
                parts=dict(parts.get(name, {})),
                control_reached=reached,
            )
        )
    return found


def last_parts(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of the parts of the loss over the last twentieth of the records."""
    tail = [record.get("losses") or {} for record in records[-max(1, len(records) // _LAST_SHARE) :]]
    names = dict.fromkeys(name for one in tail for name in one)
    return {name: sum(values) / len(values) for name in names if (values := [one[name] for one in tail if name in one])}
