"""The page, plots and tables of a sweep: means over seeds, cells that are empty, and records that are odd."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lth_deploy.errors import DataError
from lth_deploy.reporting.number_text import MISSING
from lth_deploy.reporting.page import Source, render
from lth_deploy.reporting.sweep import plots as sweep_plots
from lth_deploy.reporting.sweep import tables as sweep_tables
from lth_deploy.reporting.sweep.groups import groups_of, spread
from lth_deploy.reporting.verdict import judge_sweep
from lth_deploy.run.sweep_record import SweepRecord, load_sweep_record

LEVEL = "pruning.levels"


def trial(ap: float | None, level: float = 0.8) -> dict[str, Any]:
    return {"trial": "t", "sparsity": level, "sparsity_prunable": level, "val_ap": ap, "test_ap": ap, "seconds": 60.0}


def run(name: str, seed: int, ap: float | None, x: float | None = None, **changes: Any) -> dict[str, Any]:
    ticket = {**trial(ap), "random": trial(None if ap is None else ap - 0.1)}
    row = {
        "id": f"{name}-{x}-seed{seed}",
        "name": name,
        "series": name,
        "labels": {} if x is None else {LEVEL: f"{x}"},
        "x": x,
        "seed": seed,
        "state": "finished",
        "metric": "bbox",
        "seconds": 60.0,
        "dense": trial(0.55 + 0.01 * seed, 0.0),
        "tickets": [trial(0.9), ticket],
    }
    return {**row, **changes}


def sweep(*rows: dict[str, Any], x: str | None = None) -> SweepRecord:
    return SweepRecord.model_validate({"schema": "lth-sweep/1", "name": "s", "x": x, "rows": list(rows)})


def waiting(name: str, x: float | None = None) -> dict[str, Any]:
    return run(name, 0, None, x, state="waiting", tickets=[], dense=None, metric=None, seconds=0.0)


def cells(summary: SweepRecord) -> list[dict[str, str]]:
    table = sweep_tables.rows(summary)
    titles = [column.title for column in table.columns]
    return [
        dict(zip(titles, [f"{cell.text} {cell.note}".strip() for cell in line.cells], strict=True))
        for line in table.lines
    ]


def test_spread_is_the_mean_with_the_sample_standard_deviation() -> None:
    found = spread([0.5, None, 0.52, 0.54])
    assert found is not None
    assert (found.mean, found.deviation, found.count) == (pytest.approx(0.52), pytest.approx(0.02), 3)
    alone = spread([0.5])
    assert alone is not None
    assert alone.deviation is None
    assert spread([None]) is None


def test_tickets_that_were_fine_tuned_as_int8_have_a_column_and_a_mark() -> None:
    tickets = {"tickets": [{**trial(0.5), "int8": trial(0.47)}]}
    record = sweep(run("a", 0, 0.5, 80, **tickets), run("a", 0, 0.5, 90, **tickets), run("b", 0, 0.4, 90), x=LEVEL)
    first, _, other = cells(record)
    assert first["INT8"] == "47.0"
    assert other["INT8"] == MISSING
    drawn = sweep_plots.ap_of_sweep(record)
    assert drawn is not None
    assert "a, INT8" in drawn
    assert "b, INT8" not in drawn


def test_a_line_gathers_the_seeds_of_a_row_and_shows_its_sparsest_ticket() -> None:
    first, second = cells(sweep(run("a", 0, 0.50), run("b", 0, 0.4), run("a", 1, 0.52)))
    assert first["AP, test"] == "51.0 ± 1.4"
    assert first["Random mask"] == "41.0 ± 1.4"
    assert first["Dense"] == "55.5 ± 0.7"
    assert first["Minutes"] == "2.0"
    assert first["State"] == "2 finished"
    assert second["AP, test"] == "40.0"


def test_empty_cells_say_why() -> None:
    summary = sweep(
        run("a", 0, 0.5),
        run("a", 1, None, state="failed", error="the loss <b>stopped</b>", tickets=[], dense=None),
        waiting("b"),
    )
    first, second = cells(summary)
    assert first["State"] == "1 of 2 finished, failed"
    assert first["AP, test"] == "50.0"
    assert (second["State"], second["AP, test"], second["Dense"]) == ("waiting", MISSING, MISSING)
    assert judge_sweep(summary).state == "bad"
    page = render(Source(title="s", sweep=summary))
    assert "a-None-seed1 was lost: the loss &lt;b&gt;stopped" in page
    assert "1 of 3 runs are finished" in page


def test_what_ap_means_is_said_where_rows_differ() -> None:
    found = cells(sweep(run("a", 0, 0.5), run("b", 0, 0.5, metric="segm")))
    assert [line["Row"] for line in found] == ["a box AP", "b mask AP"]
    assert cells(sweep(run("a", 0, 0.5)))[0]["Row"] == "a"


def test_a_plot_along_an_axis_has_every_series_and_its_controls() -> None:
    rows = [run(name, seed, 0.5 - x / 10, x) for name in ("direct", "carried") for seed in (0, 1) for x in (0.5, 0.8)]
    drawn = sweep_plots.ap_of_sweep(sweep(*rows, waiting("late", 0.9), x=LEVEL))
    assert drawn is not None
    for text in ("direct", "carried", "direct, random mask", "dense", "zeros asked for", "box AP on test"):
        assert text in drawn
    assert "carried, 0.8, ticket: 42.0 ± 0.0 over 2 seeds" in drawn
    # Every row has the same dense control: one line, whose spread is over seeds.
    assert "dense: 55.5 ± 0.7 over 2 seeds" in drawn


def test_dense_controls_that_differ_along_the_axis_are_no_single_line() -> None:
    drawn = sweep_plots.ap_of_sweep(sweep(run("a", 0, 0.5, 0.5), run("a", 0, 0.4, 0.8, dense=trial(0.3)), x=LEVEL))
    assert drawn is not None
    assert "dense: " not in drawn


def test_series_with_other_dense_controls_each_show_their_own() -> None:
    rows = [
        run(name, seed, 0.5, x, dense=trial(dense + 0.01 * seed))
        for name, dense in (("short", 0.4), ("long", 0.6))
        for seed in (0, 1)
        for x in (0.5, 0.8)
    ]
    drawn = sweep_plots.ap_of_sweep(sweep(*rows, x=LEVEL))
    assert drawn is not None
    assert "short, 0.8, dense: 40.5 ± 0.7 over 2 seeds" in drawn
    assert "long, 0.8, dense: 60.5 ± 0.7 over 2 seeds" in drawn
    assert "long, dense" in drawn


def test_a_plot_by_row_keeps_a_place_for_what_is_missing() -> None:
    drawn = sweep_plots.ap_of_sweep(sweep(run("rewound", 0, 0.5), run("hidden", 0, 0.5, shown=False), waiting("tuned")))
    assert drawn is not None
    assert "tuned" in drawn
    assert "waiting" in drawn
    assert "hidden" not in drawn


def test_without_ap_there_is_no_plot() -> None:
    assert sweep_plots.ap_of_sweep(sweep(waiting("a"))) is None
    assert sweep_plots.ap_of_sweep_png(sweep(waiting("a"))) is None
    assert sweep_plots.early_masks(sweep(run("a", 0, 0.5))) is None
    assert "No row has ended yet" in render(Source(title="s", sweep=sweep(waiting("a"))))


def test_early_masks_are_drawn_once_a_dense_training() -> None:
    masks = [{"step": step, "level": 0.8, "overlap": step / 10, "changed": None} for step in (5, 10)]
    rows = [run(name, seed, 0.5, early_masks=masks) for name in "ab" for seed in (0, 1)]
    drawn = sweep_plots.early_masks(sweep(*rows))
    assert drawn is not None
    assert "80 % zeros" in drawn
    assert "overlap with the last mask" in drawn


def test_a_record_is_checked_on_the_way_in(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    document = {"schema": "lth-sweep/1", "name": "s", "rows": [run("a", 0, math.nan), {**run("b", 0, 0.5), "new": 1}]}
    file.write_text(json.dumps(document))
    summary, _ = load_sweep_record(file)
    assert [group.of("ticket", "test_ap") is None for group in groups_of(summary)] == [True, False]
    for wrong, message in (({"schema": "lth-run/1"}, "schema 'lth-sweep/1' is needed"), ({"rows": [3]}, "rows.0")):
        file.write_text(json.dumps({**document, **wrong}))
        with pytest.raises(DataError, match=message):
            load_sweep_record(file)
