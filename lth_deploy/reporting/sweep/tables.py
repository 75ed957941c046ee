"""The tables of a sweep: one line for the runs that differ in their seed only, and one line a run."""

from lth_deploy.reporting import number_text, tables
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.sweep.groups import Group, Spread, groups_of, spread
from lth_deploy.reporting.tables import Cell, Column, Line, Table
from lth_deploy.run.sweep_record import Measured, SweepRecord, SweepRun


def rows(sweep: SweepRecord) -> Table:
    """Every row with its ticket and controls, as mean and standard deviation over seeds; empty cells are dashes."""
    columns = [
        Column("Row", is_text=True),
        Column("Asked", "nominal sparsity: the level that the recipe names"),
        Column("Zeros, prunable", "share of zeros among the weights that may be pruned, of the row's sparsest ticket"),
        Column("Zeros, all", "share of zeros among all parameters"),
        Column("Zero MACs", "share of multiplications by a zero weight for one image"),
        Column("AP, val"),
        Column("AP, test", "mean and sample standard deviation over seeds"),
        Column("INT8", "the ticket, fine-tuned as INT8 computes"),
        Column(
            "Random mask", "the ticket's zeros in every layer at random; on test where that was measured, else on val"
        ),
        Column("New weights", "the ticket's mask on other first weights"),
        Column("Dense", "the dense control"),
        Column("Minutes", "of all its runs together"),
        Column("State", is_text=True),
    ]
    # What AP means is said where it is not the same in all rows.
    kinds = {run.metric for run in sweep.rows if run.metric}
    named = KIND_NAMES if len(kinds) > 1 else {}
    lines = [_group_line(group, named.get(group.first.metric or "", "")) for group in groups_of(sweep)]
    return tables.compact(columns, lines)


def runs(sweep: SweepRecord) -> Table:
    """Every single run: its seed, AP, directory, and the error of those that were lost."""
    columns = [
        Column("Run", is_text=True),
        Column("Seed"),
        Column("Metric", is_text=True),
        Column("AP, val"),
        Column("AP, test"),
        Column("Dense, test"),
        Column("Time"),
        Column("State", is_text=True),
        Column("Directory", is_text=True),
    ]
    return tables.compact(columns, [_run_line(run) for run in sweep.rows])


def _group_line(group: Group, kind: str) -> Line:
    cells = [
        tables.text(group.label, kind),
        *(
            _percent(group.of("ticket", figure))
            for figure in ("sparsity", "sparsity_prunable", "sparsity_all", "zero_macs")
        ),
        *(_spread(group.of("ticket", f"{split}_ap")) for split in ("val", "test")),
        *(_measured(group, what) for what in ("int8", "random", "reinit", "dense")),
        _minutes(group),
        tables.text(group.state),
    ]
    return Line(tuple(cells), "ticket" if group.first.state == "finished" else "")


def _run_line(run: SweepRun) -> Line:
    ticket, dense = run.ticket, run.dense
    cells = [
        tables.text(run.id),
        tables.count(run.seed),
        tables.text(KIND_NAMES.get(run.metric or "", run.metric or "")),
        tables.ap(ticket.val_ap if ticket else None),
        tables.ap(ticket.test_ap if ticket else None),
        tables.ap(dense.test_ap if dense else None),
        Cell(number_text.duration(run.seconds), run.seconds, ticket.hardware if ticket else ""),
        tables.text(run.state, run.error or ""),
        tables.text(run.run),
    ]
    return Line(tuple(cells))


def _measured(group: Group, what: Measured) -> Cell:
    found = group.ap(what)
    return _spread(found[0], "" if found[1] == "test" else "val") if found else _spread(None)


def _spread(found: Spread | None, note: str = "") -> Cell:
    if found is None:
        return tables.ap(None)
    words = [f"± {number_text.ap(found.deviation)}" if found.deviation is not None else "", note]
    return tables.ap(found.mean, " ".join(word for word in words if word))


def _percent(found: Spread | None) -> Cell:
    return tables.percent(found.mean if found else None)


def _minutes(group: Group) -> Cell:
    total = spread(run.seconds for run in group.runs if run.seconds)
    return Cell(
        number_text.MISSING if total is None else f"{total.mean * total.count / 60:.1f}", total.mean if total else None
    )
