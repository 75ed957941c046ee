"""The tables of an analysis, one beside each plot."""

from collections.abc import Sequence

from lth_deploy.reporting import number_text, tables
from lth_deploy.reporting.analysis.schema import KindAnalysis, Overlap, RunAnalysis, SizeRange, TrialFigures
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.tables import Cell, Column, Line, Table

MOST_PAIRS = 6
"""Pairs of masks that are shown layer by layer; the JSON has all."""

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "top5")


def trials(run: RunAnalysis) -> Table:
    """One line a trial and kind: zeros, and AP beside the control's."""
    columns = [
        Column("Trial", is_text=True),
        Column("Kind", is_text=True),
        Column("Zeros, prunable", "share of zeros among the weights that may be pruned"),
        Column("Zeros, all", "share of zeros among all parameters"),
        *(Column(metric) for metric in _METRICS),
        Column("vs control", "AP minus the control's, in points"),
    ]
    lines = []
    for kind in run.kinds:
        control = kind.of(kind.control or "")
        for row in kind.trials:
            trial = next(found for found in run.trials if found.name == row.trial)
            cells = [
                tables.text(row.trial, "control" if row is control else ""),
                tables.text(KIND_NAMES.get(kind.kind, kind.kind)),
                tables.percent(trial.sparsity_prunable),
                tables.percent(trial.sparsity_all),
                *(tables.ap(row.metrics.get(metric)) for metric in _METRICS),
                tables.points(_difference(row, control)),
            ]
            lines.append(Line(tuple(cells), trial.kind))
    return tables.compact(columns, lines)


def sizes(kind: KindAnalysis, *, relative: bool) -> Table | None:
    """One line a range of sizes, one column a trial."""
    ranges = kind.relative_sizes if relative else kind.coco_sizes
    if not ranges:
        return None
    columns = [Column("Side of the object", "square root of its area", is_text=True), Column("Objects")]
    columns += [Column(row.trial) for row in kind.trials]
    rows = [row.relative_sizes if relative else row.coco_sizes for row in kind.trials]
    lines = [
        Line(
            (
                Cell(_range(size_range, relative), size_range.low),
                tables.count(size_range.objects),
                *(tables.ap(row[position]) for row in rows),
            )
        )
        for position, size_range in enumerate(ranges)
    ]
    return tables.compact(columns, lines)


def classes(run: RunAnalysis, kind: KindAnalysis) -> Table:
    """One line a class: objects in training and here, AP of every trial, and its change against the control."""
    changed = [row for row in kind.trials if any(row.changes)]
    columns = [Column("Class", is_text=True), Column("In training", "objects"), Column("Here", "objects that count")]
    columns += [Column(row.trial) for row in kind.trials]
    for row in changed:
        columns += [
            Column(f"{row.trial}, change", f"AP minus {kind.control}'s, in points"),
            Column("95 % interval", "by paired bootstrap over images", is_text=True),
            Column("in %", "change as a share of the control's AP"),
        ]
    control = kind.of(kind.control or "")
    lines = []
    for position, entry in enumerate(run.classes):
        cells = [tables.text(entry.name), tables.count(entry.train_objects), tables.count(entry.objects)]
        cells += [tables.ap(row.classes[position]) for row in kind.trials]
        base = control.classes[position] if control else None
        for row in changed:
            cells += _change_cells(row, position, base)
        lines.append(Line(tuple(cells)))
    return tables.compact(columns, lines)


def errors(kind: KindAnalysis) -> Table | None:
    """One line a type of error, for each trial how often it occurs and the AP50 that it costs."""
    rows = [(row.trial, row.errors) for row in kind.trials if row.errors]
    if not rows:
        return None
    columns = [Column("Error", is_text=True)]
    for trial, _ in rows:
        columns += [
            Column(f"{trial}, number"),
            Column("AP50 lost", "points that repairing all of this type would gain"),
        ]
    types = [(name, [found.types[name] for _, found in rows]) for name in rows[0][1].types]
    types += [
        ("all false positives", [found.false_positives for _, found in rows]),
        ("all false negatives", [found.false_negatives for _, found in rows]),
    ]
    lines = []
    for name, found in types:
        cells = [tables.text(name)]
        for cost in found:
            cells += [tables.count(cost.count), _lost(cost.ap50_gain)]
        lines.append(Line(tuple(cells)))
    return Table(tuple(columns), tuple(lines))


def layers(run: RunAnalysis) -> Table | None:
    """One line a layer: weights, MACs, and the zeros of every trial."""
    shown = [trial for trial in run.trials if trial.layers]
    if not shown:
        return None
    columns = [Column("Layer", is_text=True), Column("Part", is_text=True), Column("Weights")]
    columns += [Column("MACs", "for one image"), *(Column(trial.name, "share of zeros") for trial in shown)]
    lines = []
    for position, layer in enumerate(shown[0].layers):
        macs = None if layer.positions is None else layer.positions * layer.elements
        cells = [tables.text(layer.name), tables.text(layer.group), tables.count(layer.elements), tables.count(macs)]
        cells += [tables.percent(_zeros(trial.layers[position].zeros, layer.elements), bar=True) for trial in shown]
        lines.append(Line(tuple(cells)))
    return tables.compact(columns, lines)


def costs(run: RunAnalysis) -> Table:
    """One line a trial: MACs of all its layers, those with nonzero weights, and its bytes by storage."""
    names = list(dict.fromkeys(size.name for size in run.storage))
    columns = [
        Column("Trial", is_text=True),
        Column("MACs", "multiplications of all layers for one image, in millions"),
        Column("Nonzero MACs", "those with a weight that is not zero, in millions"),
        Column("Zero MACs"),
        *(Column(name, "bytes") for name in names),
    ]
    lines = []
    for trial in run.trials:
        every = sum((layer.positions or 0) * layer.elements for layer in trial.layers)
        left = sum((layer.positions or 0) * (layer.elements - layer.zeros) for layer in trial.layers)
        by_name = {size.name: size.whole for size in run.storage if size.trial == trial.name}
        cells = [
            tables.text(trial.name),
            Cell(number_text.three_digits(every / 1e6) if every else number_text.MISSING, every),
            Cell(number_text.three_digits(left / 1e6) if every else number_text.MISSING, left),
            tables.percent(1 - left / every if every else None),
            *(tables.size(by_name.get(name)) for name in names),
        ]
        lines.append(Line(tuple(cells), trial.kind))
    return tables.compact(columns, lines)


def losses(run: RunAnalysis) -> Table | None:
    """One line a trial: its loss at both ends, its parts, and when it was as low as the control's last."""
    if not run.losses:
        return None
    parts = list(dict.fromkeys(part for curve in run.losses for part in curve.parts))
    columns = [
        Column("Trial", is_text=True),
        Column("Steps"),
        Column("First loss", "smoothed"),
        Column("Last loss", "smoothed"),
        Column("As low as the control's last at step"),
        *(Column(part.replace("_", " "), "smoothed, at the end") for part in parts),
    ]
    kinds = {trial.name: trial.kind for trial in run.trials}
    lines = [
        Line(
            (
                tables.text(curve.trial),
                tables.count(curve.steps),
                _loss(curve.first),
                _loss(curve.last),
                tables.count(curve.control_reached),
                *(_loss(curve.parts.get(part)) for part in parts),
            ),
            kinds.get(curve.trial, ""),
        )
        for curve in run.losses
    ]
    return tables.compact(columns, lines)


def overlaps(pairs: Sequence[Overlap]) -> Table | None:
    """One line a pair of masks."""
    if not pairs:
        return None
    columns = [
        Column("Mask", is_text=True),
        Column("and mask", is_text=True),
        Column("IoU", "weights that both keep over those that either keeps"),
        Column("By chance", "of random masks that keep as many weights in each layer"),
        Column("Layers", "of one name and shape"),
        Column("Left out", "layers that only one has, or in another shape"),
    ]
    lines = [
        Line(
            (
                tables.text(pair.first),
                tables.text(pair.second),
                _ratio(pair.iou),
                _ratio(pair.by_chance),
                tables.count(len(pair.layers)),
                tables.count(len(pair.left_out)),
            )
        )
        for pair in pairs
    ]
    return Table(tuple(columns), tuple(lines))


def overlap_layers(pairs: Sequence[Overlap]) -> Table | None:
    """One line a layer, for each of the first pairs the IoU and that by chance."""
    if not pairs:
        return None
    pairs = pairs[:MOST_PAIRS]
    names = list(dict.fromkeys(layer.name for pair in pairs for layer in pair.layers))
    columns = [Column("Layer", is_text=True)]
    for pair in pairs:
        columns += [Column(f"{pair.first} and {pair.second}"), Column("by chance")]
    by_name = [{layer.name: layer for layer in pair.layers} for pair in pairs]
    lines = []
    for name in names:
        cells = [tables.text(name)]
        for layers in by_name:
            layer = layers.get(name)
            cells += [_ratio(layer.iou if layer else None), _ratio(layer.by_chance if layer else None)]
        lines.append(Line(tuple(cells)))
    return Table(tuple(columns), tuple(lines))


def _difference(row: TrialFigures, control: TrialFigures | None) -> float | None:
    ticket_ap, control_ap = row.metrics.get("AP"), control.metrics.get("AP") if control else None
    return None if ticket_ap is None or control_ap is None or row is control else ticket_ap - control_ap


def _change_cells(row: TrialFigures, position: int, base: float | None) -> list[Cell]:
    change = row.changes[position]
    if change is None:
        return [tables.points(None), tables.text(""), tables.points(None)]
    has_interval = change.low is not None and change.high is not None
    text = (
        f"{number_text.points(change.low)} … {number_text.points(change.high)}" if has_interval else number_text.MISSING
    )
    return [tables.points(change.value), Cell(text, change.low), tables.points(change.value / base if base else None)]


def _range(size_range: SizeRange, relative: bool) -> str:
    scale, unit = (100, " %") if relative else (1, " px")
    low = f"{scale * size_range.low:.3g}"
    text = f"≥ {low}" if size_range.high is None else f"{low} to {scale * size_range.high:.3g}"
    return f"{size_range.name} {text}{unit}".strip()


def _lost(gain: float | None) -> Cell:
    return Cell(number_text.points(gain).removeprefix("+"), gain)


def _zeros(zeros: int, elements: int) -> float | None:
    return zeros / elements if elements else None


def _loss(value: float | None) -> Cell:
    return Cell(number_text.MISSING if value is None else number_text.three_digits(value), value)


def _ratio(value: float | None) -> Cell:
    return Cell(number_text.MISSING if value is None else f"{value:.3f}", value)
