"""What every plot promises: valid, self-contained SVG in the colors of the page, with real, escaped text."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.reporting import cost_plots, plots
from lth_deploy.reporting.benchmark import pareto_fronts
from lth_deploy.reporting.benchmark import tables as benchmark_tables
from lth_deploy.reporting.benchmark.pareto_fronts import Point
from lth_deploy.reporting.cost_plots import Bar, Stack
from lth_deploy.reporting.drawing.svg import Canvas, drawing, standalone
from lth_deploy.run.summary import RunSummary
from tests.reporting.report_samples import make_benchmark, make_run, trial

HOSTILE = '</svg><script>alert("1")</script> $\\frac{1}{0}$ & ' + "x" * 500


def all_plots(name: str = "level_80") -> list[str]:
    document = make_run(("bbox", "segm"))
    document["trials"][2]["name"] = document["winner"]["trial"] = name
    run = RunSummary.model_validate(document)
    results = BenchmarkResults.model_validate(make_benchmark())
    points = [Point(name, name, 1.0, 0.5, name), *benchmark_tables.size_points(results)]
    found = [
        plots.ap_against_sparsity(run, "val", "bbox"),
        plots.losses(run),
        pareto_fronts.pareto(points, "front", "file size, MB"),
        cost_plots.layers([Bar(name, name, 2.0, 0.5), Bar("b", "fpn", 1.0, 0.0)], "layers", "share"),
        cost_plots.sizes([Stack(name, {"values": 3e6, "positions": 1e6}), Stack("dense", {"file": 9e6})]),
    ]
    assert all(found)
    return [plot for plot in found if plot]


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return all_plots()


def test_plots_need_no_styles_and_nothing_from_elsewhere(drawn: list[str]) -> None:
    for plot in drawn:
        root = ET.fromstring(plot)
        assert root.get("aria-label")
        for element in root.iter():
            assert "style" not in element.attrib
            assert not element.tag.endswith("}style")
            for key, value in element.attrib.items():
                assert not (key.endswith("href") and not value.startswith("#"))


def test_every_color_follows_the_theme(drawn: list[str]) -> None:
    for plot in drawn:
        for paint in re.findall(r'(?:fill|stroke)="([^"]+)"', plot):
            assert re.fullmatch(r"none|url\(#[\w-]+\)|var\(--[a-z0-9]+, #[0-9a-f]{6}\)", paint), paint


def test_quantized_trials_have_a_curve_of_their_own() -> None:
    document = make_run()
    quantized = trial("int8", 0.8, 0.556, 0.547, ("bbox",)) | {"name": "level_80_int8"}
    before, after = (
        plots.ap_against_sparsity(RunSummary.model_validate({**document, "trials": trials}), "test", "bbox") or ""
        for trials in (document["trials"], [*document["trials"], quantized])
    )
    assert "Quantized" not in before
    assert "Quantized, as INT8 computes" in after
    assert "level_80_int8: 54.7 at 80.0 % zeros" in after


def test_references_meet_their_targets_and_ids_are_unique_on_the_page(drawn: list[str]) -> None:
    page = " ".join(drawn)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", page)) <= set(ids)


def test_hostile_names_stay_text_and_do_not_squeeze_the_plot(drawn: list[str]) -> None:
    for plot, tame in zip(all_plots(HOSTILE), drawn, strict=True):
        assert "<script" not in plot
        root = ET.fromstring(plot)
        assert root.get("viewBox") == ET.fromstring(tame).get("viewBox")
        assert max(len(text) for text in root.itertext()) < len(HOSTILE) + 60


def test_the_same_figures_give_the_same_bytes(drawn: list[str]) -> None:
    assert all_plots() == drawn


def test_a_standalone_plot_depends_on_no_page(drawn: list[str]) -> None:
    alone = standalone(drawn[0])
    assert "var(" not in alone
    assert ET.fromstring(alone).get("viewBox")


def test_nothing_to_draw_is_none() -> None:
    empty = RunSummary()
    assert plots.ap_against_sparsity(empty, "val", "bbox") is None
    assert plots.losses(empty) is None
    assert pareto_fronts.pareto([], "n", "x") is None
    assert cost_plots.layers([], "n", "x") is None
    assert cost_plots.sizes([]) is None


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_front_holds_exactly_what_nothing_beats(pairs: list[tuple[float, float]]) -> None:
    points = [Point(str(i), "s", x, ap, "") for i, (x, ap) in enumerate(pairs)]
    best = pareto_fronts.front(points)
    for point in points:
        beaten = any(
            other.x <= point.x and other.ap >= point.ap and (other.x, other.ap) != (point.x, point.ap)
            for other in points
        )
        assert beaten != any((point.x, point.ap) == (other.x, other.ap) for other in best)


def test_forty_artifacts_are_still_drawn() -> None:
    points = [Point(f"artifact {i}", f"engine {i % 9}", 1.0 + i, 0.4 + i / 100, "") for i in range(40)]
    assert pareto_fronts.pareto(points, "many", "ms")


def test_names_stay_off_the_line_of_the_front() -> None:
    """Where no place is free of it, the line ends at the name instead of striking it through."""
    free = [Point("in the open", "a", 2.0, 0.5, ""), Point("best", "a", 6.0, 0.6, "")]
    measured = {25.5: 0.5558, 26.5: 0.5558, 9.03: 0.5575, 70.2: 0.5648, 40.9: 0.5648}
    crowded = [Point("bccd_retinanet_r18-80-2x4-int8", "a", x, ap, "") for x, ap in measured.items()]
    for points, boxed in ((free, 0), (crowded, 1)):
        with drawing():
            canvas = Canvas(5.6, 3.7)
            best = pareto_fronts.front(points)
            pareto_fronts._markers(canvas, points, 0)
            canvas.axes.margins(0.16, 0.2)
            canvas.axes.set_xlim(left=0)
            pareto_fronts._write_labels(canvas, points, best)
            line = pareto_fronts._steps([canvas.axes.transData.transform((one.x, 100 * one.ap)) for one in best])
            names = canvas.axes.texts
            crossing = [text for text in names if any(text.get_window_extent().overlaps(box) for box in line)]
            assert [text for text in names if text.get_bbox_patch() is not None] == crossing
            assert len(crossing) == boxed
