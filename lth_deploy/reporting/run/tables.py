"""The tables about a run: its trials, all their metrics, and the zeros of every layer."""

import itertools
from collections.abc import Iterator

from lth_deploy.reporting import number_text, tables
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.tables import Cell, Column, Line, Table
from lth_deploy.run.summary import LayerSummary, RunSummary, TrialSummary

_MOST_LEVELS = 10
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "VOC07", "VOC10")


def trials(run: RunSummary) -> Table:
    """One line a trial: sparsity, zero MACs, AP on val and test, and the difference to dense."""
    columns = [
        Column("Trial", is_text=True),
        Column("Asked", "nominal sparsity: the level that the recipe names"),
        Column("Zeros, prunable", "share of zeros among the weights that may be pruned"),
        Column("Zeros, all", "share of zeros among all parameters"),
        Column("Zero MACs", "share of multiplications by a zero weight for one image"),
    ]
    for kind in run.kinds:
        name = KIND_NAMES.get(kind, kind)
        name = name[0].upper() + name[1:]
        columns += [Column(f"{name}, val"), Column(f"{name}, test")]
    columns += [
        Column(
            "vs dense",
            "AP minus the dense control's, in points, on test where both were measured, else on val",
        ),
        Column("95 % interval", "of the difference, by paired bootstrap over images", is_text=True),
        Column("Steps"),
        Column("Time"),
    ]
    return tables.compact(columns, [_trial_line(run, trial) for trial in run.trials])


def metrics(run: RunSummary) -> Table | None:
    """Every metric of every trial, one line for each trial, kind and split."""
    columns = [Column("Trial", is_text=True), Column("Kind", is_text=True), Column("Split", is_text=True)]
    columns += [Column(metric) for metric in _METRICS]
    lines = []
    for trial, kind, split in itertools.product(run.trials, run.kinds, ("val", "test")):
        found = [trial.ap(split, kind, metric) for metric in _METRICS]
        if any(value is not None for value in found):
            cells = [tables.text(word) for word in (trial.name, KIND_NAMES.get(kind, kind), split)]
            lines.append(Line((*cells, *(tables.ap(value) for value in found)), trial.kind))
    return tables.compact(columns, lines) if lines else None


def shown_ticket(run: RunSummary) -> TrialSummary | None:
    """The ticket whose layers are shown: the winner, else the sparsest that has layers."""
    winner = run.trial(run.winner.trial) if run.winner else None
    if winner and winner.layers:
        return winner
    return next((trial for trial in reversed(run.of_kind("ticket")) if trial.layers), None)


def layers(run: RunSummary) -> Table | None:
    """One line a layer, its zeros at every level side by side; None when no ticket has layers."""
    shown = shown_ticket(run)
    if shown is None:
        return None
    levels = [trial for trial in run.of_kind("ticket") if trial.layers][-_MOST_LEVELS:]
    columns = [
        Column("Layer", is_text=True),
        Column("Part", is_text=True),
        Column("Shape", is_text=True),
        Column("Weights"),
        Column("MACs", "multiplications for one image: weights times output positions"),
    ]
    columns += [Column(trial.name, "share of zeros") for trial in levels]
    by_level = [{layer.name: layer for layer in trial.layers} for trial in levels]
    lines = [
        Line(
            (
                tables.text(layer.name),
                tables.text(layer.group),
                Cell(f" {number_text.TIMES} ".join(str(side) for side in layer.shape), float(layer.elements)),
                tables.count(layer.elements),
                tables.count(None if layer.positions is None else layer.positions * layer.elements),
                *(_zeros(level.get(layer.name)) for level in by_level),
            )
        )
        for layer in shown.layers
    ]
    return tables.compact(columns, lines)


def parts(run: RunSummary) -> Table | None:
    """One line a part of the network, its zeros at every level; None when no ticket has parts."""
    levels = [trial for trial in run.of_kind("ticket") if trial.parts][-_MOST_LEVELS:]
    if not levels:
        return None
    total = run.parameters.total
    columns = [
        Column("Part", is_text=True),
        Column("In the paper", "its name in table 3 of Girish et al. 2021", is_text=True),
        Column("Weights"),
        Column("Of all", "share of all parameters"),
        Column("May be pruned"),
    ]
    columns += [Column(trial.name, "share of zeros among the part's weights") for trial in levels]
    by_level = [{part.name: part for part in trial.parts} for trial in levels]
    lines = []
    for part in levels[-1].parts:
        shown = [level.get(part.name) for level in by_level]
        cells = [
            tables.text(part.name),
            tables.text(part.paper),
            tables.count(part.weights),
            tables.percent(part.weights / total if total else None),
            tables.count(part.prunable),
            *(tables.percent(found.zeros / found.weights if found and found.weights else None) for found in shown),
        ]
        lines.append(Line(tuple(cells)))
    return tables.compact(columns, lines)


def _zeros(layer: LayerSummary | None) -> Cell:
    return tables.percent(layer.zeros / layer.elements if layer and layer.elements else None, bar=True)


def _trial_line(run: RunSummary, trial: TrialSummary) -> Line:
    is_winner = bool(run.winner and run.winner.trial == trial.name)
    interval = run.winner.interval if is_winner and run.winner else None
    low, high = interval or (None, None)
    has_interval = low is not None and high is not None
    cells = [
        tables.text(trial.name, "winner" if is_winner else ""),
        tables.percent(trial.sparsity),
        tables.percent(trial.zeros),
        tables.percent(trial.sparsity_all),
        tables.percent(trial.zero_macs),
        *_ap_cells(run, trial),
        _against(run, trial),
        Cell(f"{number_text.points(low)} … {number_text.points(high)}" if has_interval else number_text.MISSING, low),
        tables.count(trial.steps),
        Cell(number_text.duration(trial.seconds), trial.seconds, trial.hardware),
    ]
    return Line(tuple(cells), trial.kind, is_winner)


def _ap_cells(run: RunSummary, trial: TrialSummary) -> Iterator[Cell]:
    for kind in run.kinds:
        for split in ("val", "test"):
            yield tables.ap(trial.ap(split, kind))


def _against(run: RunSummary, trial: TrialSummary) -> Cell:
    """Difference to the dense control, on test where both have it, else on val, and says which."""
    dense = run.control if trial is not run.control else None
    for split in ("test", "val"):
        ticket_ap = trial.ap(split, run.main_kind)
        control_ap = dense.ap(split, run.main_kind) if dense else None
        if ticket_ap is not None and control_ap is not None:
            return tables.points(ticket_ap - control_ap, "" if split == "test" else "val")
    return tables.points(None)
