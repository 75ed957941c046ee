"""The page of an analysis, and the same plots as files."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lth_deploy.reporting import cost_plots, number_text, plots
from lth_deploy.reporting.analysis import layer_plots
from lth_deploy.reporting.analysis import plots as analysis_plots
from lth_deploy.reporting.analysis import tables as analysis_tables
from lth_deploy.reporting.analysis.schema import Analysis, KindAnalysis, RunAnalysis
from lth_deploy.reporting.cost_plots import Stack
from lth_deploy.reporting.drawing.html import render_page
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.tables import Table
from lth_deploy.run.summary import RunSummary

_PLAIN = {
    "sizes": "Objects are put into ranges by the square root of their area: COCO's, and ranges that hold equally many "
    "objects, relative to the size of their image. AP is the mean over the classes that have an object in the range.",
    "classes": "By frequency: AP of each class against its objects in training. By difficulty: its change against the "
    "control's AP, so that classes that the control finds hard are left. Bars are 95 % intervals by paired bootstrap "
    "over images; one that crosses the line is no sure change.",
    "errors": "Every false detection at IoU 0.5 has one type, every object that nothing was meant for is missed "
    "(Bolya et al. 2020). The AP50 lost is what repairing all errors of a type, and nothing else, would gain.",
    "layers": "Zeros in each layer from input to output. A random control has its ticket's sparsity in every layer.",
    "costs": "Multiplications for one image, and those left where no zero is multiplied. Bytes of a run's trials are "
    "computed: each layer in its smallest coding, all other parameters dense. Bytes of files are measured.",
    "losses": "Training loss, an exponential moving average.",
}


@dataclass(frozen=True)
class Part:
    """One analysis: plots by name, in pairs unless they are `wide`, beside tables by caption."""

    title: str
    lead: str
    plots: dict[str, str]
    tables: dict[str, Table]
    wide: bool = True


@dataclass(frozen=True)
class Chapter:
    """The parts about one run."""

    run: RunAnalysis
    table: Table
    facts: list[tuple[str, str]]
    parts: list[Part]


def render(analysis: Analysis) -> str:
    """The whole page as HTML text. Same analysis, same text."""
    title = " and ".join(run.name for run in analysis.runs)
    context: dict[str, Any] = {
        "analysis": analysis,
        "chapters": _chapters(analysis),
        "overlap": _overlap(analysis),
        "command": shlex.join(analysis.command),
        "versions": list(analysis.versions.items()),
    }
    return render_page("analysis.html", f"Analysis of {title}", context, {"analysis": analysis.as_json()})


def drawings(analysis: Analysis) -> dict[str, str]:
    """Every plot of the page as an SVG element, by a name that is fit for a file."""
    parts = [part for chapter in _chapters(analysis) for part in chapter.parts]
    overlap = _overlap(analysis)
    return {name: plot for part in [*parts, *([overlap] if overlap else [])] for name, plot in part.plots.items()}


def _chapters(analysis: Analysis) -> list[Chapter]:
    single = len(analysis.runs) == 1
    return [
        Chapter(
            run, analysis_tables.trials(run), _facts(run), list(_parts(run, "" if single else _prefix(run, number)))
        )
        for number, run in enumerate(analysis.runs, start=1)
    ]


def _prefix(run: RunAnalysis, number: int) -> str:
    """Begins the names of a run's plots; the number keeps two runs of one name apart."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', run.name).strip('-')}-{number}-"


def _facts(run: RunAnalysis) -> list[tuple[str, str]]:
    facts = [
        ("detector", run.detector),
        ("split", f"{run.split}, {number_text.count(run.images)} images"),
        ("parameters", number_text.count(run.parameters.total)),
        ("recipe digest", run.recipe_digest or number_text.MISSING),
    ]
    return [(key, value) for key, value in facts if value != number_text.MISSING]


def _parts(run: RunAnalysis, prefix: str) -> Iterator[Part]:
    for kind in run.kinds:
        yield from _kind_parts(run, kind, prefix)
    styles = analysis_plots.styles_of(run.trials)
    layers = analysis_tables.layers(run)
    zeros = layer_plots.zeros(run.trials, styles, f"{prefix}layers")
    if layers and zeros:
        yield Part("Zeros per layer", _PLAIN["layers"], {f"{prefix}layers": zeros}, {"Every layer": layers})
    yield _cost_part(run, prefix)
    losses = analysis_tables.losses(run)
    curves = plots.losses(RunSummary(trials=run.trials), f"{prefix}losses")
    if losses and curves:
        yield Part("Training loss", _PLAIN["losses"], {f"{prefix}losses": curves}, {"Training loss": losses})


def _kind_parts(run: RunAnalysis, kind: KindAnalysis, prefix: str) -> Iterator[Part]:
    unit = KIND_NAMES.get(kind.kind, kind.kind)
    title = unit[0].upper() + unit[1:]
    styles = [style for style in analysis_plots.styles_of(run.trials) if kind.of(style.name)]

    def named(plot: str) -> str:
        return f"{prefix}{plot}-{kind.kind}"

    by_size = analysis_plots.sizes(kind, styles, named("sizes"))
    if by_size:
        tables = {
            "By COCO's sizes": analysis_tables.sizes(kind, relative=False),
            "By size relative to the image": analysis_tables.sizes(kind, relative=True),
        }
        kept = {caption: table for caption, table in tables.items() if table}
        yield Part(f"{title} by object size", _PLAIN["sizes"], by_size, kept, wide=False)
    by_class = {
        named("frequency"): analysis_plots.frequency(kind, run.classes, styles, named("frequency")),
        named("difficulty"): analysis_plots.difficulty(kind, run.classes, styles, named("difficulty")),
    }
    drawn = {name: plot for name, plot in by_class.items() if plot}
    classes = {"Classes": analysis_tables.classes(run, kind)}
    yield Part(f"{title} by class", _PLAIN["classes"], drawn, classes, wide=False)
    errors = analysis_tables.errors(kind)
    if errors:
        plots_of_errors = analysis_plots.error_costs(kind, styles, named("errors"))
        yield Part(f"Errors in {unit}", _PLAIN["errors"], plots_of_errors, {"Errors": errors})


def _cost_part(run: RunAnalysis, prefix: str) -> Part:
    styles = analysis_plots.styles_of(run.trials)
    found = {
        f"{prefix}macs": layer_plots.multiplications(run.trials, styles, f"{prefix}macs"),
        f"{prefix}bytes": cost_plots.sizes(_stacks(run), name=f"{prefix}bytes"),
    }
    kept = {name: plot for name, plot in found.items() if plot}
    return Part("Multiplications and bytes", _PLAIN["costs"], kept, {"Costs": analysis_tables.costs(run)})


def _stacks(run: RunAnalysis) -> list[Stack]:
    return [
        Stack(
            f"{row.trial}, {row.name}",
            {
                "values": row.values,
                "positions": row.positions,
                "dense tensors": row.dense,
                "graph and metadata": row.other,
            },
        )
        for row in run.storage
    ]


def _overlap(analysis: Analysis) -> Part | None:
    table = analysis_tables.overlaps(analysis.overlaps)
    layers = analysis_tables.overlap_layers(analysis.overlaps)
    if table is None or layers is None:
        return None
    found = {
        "overlap": layer_plots.overlap_matrix(analysis.overlaps, "overlap"),
        "overlap-layers": layer_plots.overlap_layers(analysis.overlaps, "overlap-layers"),
    }
    lead = (
        "Weights that both masks keep over those that either keeps. By chance: of masks that keep as many weights in "
        "each layer, but anywhere in it."
    )
    kept = {name: plot for name, plot in found.items() if plot}
    return Part("Overlap of masks", lead, kept, {"Pairs of masks": table, "Every layer": layers})
