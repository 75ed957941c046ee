"""The page of an analysis: every plot stands beside its table, and nothing hostile gets through."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from lth_deploy.reporting.analysis import plots as analysis_plots
from lth_deploy.reporting.analysis import tables as analysis_tables
from lth_deploy.reporting.analysis.page import drawings, render
from lth_deploy.reporting.analysis.schema import Analysis, KindAnalysis, RunAnalysis
from lth_deploy.reporting.number_text import MINUS, MISSING
from tests.reporting.analysis_samples import CLASSES, TRIALS, figures, kind, make_analysis, run, trial

HOSTILE = '</svg><script>alert("1")</script> $\\frac{1}{0}$ & ' + "x" * 500


def analysis(**changes: Any) -> Analysis:
    return Analysis.model_validate(make_analysis(**changes))


@pytest.fixture(scope="module")
def plots() -> dict[str, str]:
    return drawings(analysis())


def test_every_analysis_has_its_plot(plots: dict[str, str]) -> None:
    assert list(plots) == [
        *("sizes-bbox-coco", "sizes-bbox-relative", "frequency-bbox", "difficulty-bbox"),
        *("errors-bbox-cost", "errors-bbox-count", "layers", "macs", "bytes", "losses", "overlap", "overlap-layers"),
    ]


def test_plots_are_plain_svg_in_the_colors_of_the_page(plots: dict[str, str]) -> None:
    for plot in plots.values():
        root = ET.fromstring(plot)
        assert root.get("aria-label")
        assert all("style" not in element.attrib for element in root.iter())
        for paint in re.findall(r'(?:fill|stroke)="([^"]+)"', plot):
            assert re.fullmatch(r"none|url\(#[\w-]+\)|var\(--[a-z0-9]+, #[0-9a-f]{6}\)", paint), paint


def test_axes_have_names_and_units_and_bars_their_figures(plots: dict[str, str]) -> None:
    for name, words in {
        "sizes-bbox-coco": ("side of the object (√area), pixels", "box AP", "medium, 32 to 96", "60 objects", "40.0"),
        "sizes-bbox-relative": ("side of the object (√area) in % of the image's", "< 20", "76 objects"),
        "frequency-bbox": ("objects of the class in training (log scale)", "box AP of the class", "toaster"),
        "difficulty-bbox": ("box AP of the class in dense: hard to easy", "change, points", "bicycle"),
        "errors-bbox-cost": ("AP50 lost, points", "localization", "all false"),
        "errors-bbox-count": ("errors", "7"),
        "layers": ("zero weights, %", "layers from input to output, by part", "backbone", "fpn"),
        "macs": ("million MACs for one image", "level_80, nonzero"),
        "bytes": ("MB", "level_80, packed, fp16"),
        "losses": ("optimizer step", "training loss, smoothed"),
        "overlap": ("0.500", "chance 0.110"),
        "overlap-layers": ("IoU of kept weights", "level_80 and level_90", "by chance"),
    }.items():
        texts = list(ET.fromstring(plots[name]).itertext())
        for word in words:
            assert any(word in text for text in texts), (name, word)


def test_two_runs_share_a_page_and_no_id() -> None:
    both = analysis(runs=[run(), run("seed 1"), run("seed 1")])
    assert {"cells-1-macs", "seed-1-2-macs", "seed-1-3-macs"} <= set(drawings(both))
    page = render(both)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("Zeros per layer") == 3


def test_the_page_is_closed_and_escapes_what_it_shows() -> None:
    trials = ((HOSTILE, "dense", 0.0), *TRIALS[1:])
    hostile = run(
        HOSTILE,
        kinds=[kind(trials=trials)],
        trials=[trial(*one) for one in trials],
        classes=[{"name": HOSTILE, "train_objects": 3, "objects": 3}, *run()["classes"][1:]],
    )
    page = render(analysis(runs=[hostile], notes=[HOSTILE]))
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    assert "Content-Security-Policy" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_tables_hold_the_figures() -> None:
    one = RunAnalysis.model_validate(run())
    box = one.kinds[0]
    classes = analysis_tables.classes(one, box)
    assert [line.cells[0].text for line in classes.lines] == [name for name, _, _ in CLASSES]
    first = [cell.text for cell in classes.lines[0].cells]
    assert first[:6] == ["person", "900", "120", "60.0", "59.0", "58.0"]
    assert first[6:9] == [text.replace("-", MINUS) for text in ("-1.0", "-3.0 … +1.0", "-1.7")]
    assert [cell.text for cell in classes.lines[2].cells][6:9] == [MISSING] * 3
    errors = analysis_tables.errors(box)
    assert errors is not None
    assert [line.cells[0].text for line in errors.lines][-2:] == ["all false positives", "all false negatives"]
    assert [cell.text for cell in errors.lines[0].cells[1:3]] == ["7", "2.0"]
    costs = analysis_tables.costs(one)
    dense, ticket = (line.cells for line in costs.lines[:2])
    assert dense[1].sort == dense[2].sort == ticket[1].sort
    assert 0 < (ticket[2].sort or 0) < (dense[2].sort or 0)


def test_what_was_not_measured_is_left_out() -> None:
    accuracy = {
        **kind("top1"),
        "coco_sizes": [],
        "relative_sizes": [],
        "trials": [
            {**figures(name, 0, name == "dense"), "coco_sizes": [], "relative_sizes": [], "errors": None}
            for name, _, _ in TRIALS
        ],
    }
    bare = [{**trial(*one), "layers": [], "losses": []} for one in TRIALS]
    empty = analysis(runs=[run(kinds=[accuracy], trials=bare, storage=[], losses=[])], overlaps=[])
    assert set(drawings(empty)) == {"frequency-top1", "difficulty-top1"}
    page = render(empty)
    assert "Top-1 accuracy by class" in page
    for title in ("Errors in", "by object size", "Zeros per layer", "Training loss", "Overlap of masks"):
        assert f"{title}</h2>" not in page


def test_of_many_classes_only_those_that_change_most_are_named() -> None:
    many = kind()
    count = 40
    for row in many["trials"]:
        row["classes"] = [0.5] * count
        row["changes"] = [{"value": 0.2 if place == 17 else 0.01} for place in range(count)] if row["changes"] else []
    classes = [{"name": f"class{place}", "train_objects": 5 + place, "objects": 5} for place in range(count)]
    one = RunAnalysis.model_validate(run(kinds=[many], classes=classes))
    series = analysis_plots.styles_of(one.trials)
    plot = analysis_plots.difficulty(KindAnalysis.model_validate(many), one.classes, series, "d")
    assert plot is not None
    shown = [text for text in ET.fromstring(plot).itertext() if re.fullmatch(r"class\d+", text)]
    assert "class17" in shown
    assert len(shown) <= 8


def test_the_same_analysis_gives_the_same_bytes() -> None:
    assert render(analysis()) == render(analysis())
