"""The page: complete with a run, a benchmark or both; safe with hostile input; the same bytes every time."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lth_deploy.errors import DataError, UsageError
from lth_deploy.workflow.report import plot, report
from tests.reporting.report_samples import make_benchmark, make_run, write

HOSTILE = '</script></title><script>alert(1)</script><img src=x onerror="alert(2)">'


class Reader(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}


def page_of(source: Path) -> str:
    return report(source, source.parent / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page about a run and its benchmark; drawn once, because that takes a second or two."""
    run = tmp_path_factory.mktemp("whole") / "run"
    write(run / "summary.json", make_run())
    write(run / "benchmark.json", make_benchmark())
    return page_of(run)


def embedded(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="lth-data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_run_with_a_benchmark_has_every_part(whole: str) -> None:
    ids = Reader(whole).ids()
    assert {"ap", "benchmark", "bytes", "layers", "losses", "environment", "again", "lth-data"} <= ids


def test_the_page_names_what_a_training_ran_on(whole: str) -> None:
    # Beside the time of each trial; the data at the end of the page names it once more.
    assert whole.count("AMD EPYC 7R13") >= 2 * len(make_run()["trials"])


def test_the_page_carries_its_data(whole: str) -> None:
    data = embedded(whole)
    assert data == {"run": make_run(), "benchmark": make_benchmark()}


def test_the_policy_admits_the_own_style_and_script_only(whole: str) -> None:
    page = whole
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    policy = html.unescape(policy)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (text,) = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_the_page_asks_the_network_for_nothing(whole: str) -> None:
    for tag, attributes in Reader(whole).elements:
        assert "style" not in attributes
        assert not any(key.startswith("on") for key in attributes)
        for key in ("src", "href", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (tag, attributes)


def test_a_run_alone_shows_what_its_masks_let_one_expect(tmp_path: Path) -> None:
    write(tmp_path / "run" / "summary.json", make_run())
    page = page_of(tmp_path / "run")
    assert 'id="benchmark"' not in page
    assert "Computed from the masks" in page


def test_a_benchmark_alone_needs_no_run(tmp_path: Path) -> None:
    page = page_of(write(tmp_path / "bench.json", make_benchmark()))
    ids = Reader(page).ids()
    assert "benchmark" in ids
    assert "ap" not in ids
    assert "7.7 times smaller" in page


def test_rows_with_the_same_note_share_a_warning(tmp_path: Path) -> None:
    results = make_benchmark()
    for row in results["rows"][:2]:
        row["notes"] = ["rounded once"]
    page = page_of(write(tmp_path / "bench.json", results))
    names = ", ".join(f"{row['name']} ({row['engine']})" for row in results["rows"][:2])
    assert page.count(f"{names}: rounded once") == 1


def test_a_run_that_just_began_has_a_page(tmp_path: Path) -> None:
    write(tmp_path / "run" / "summary.json", {"schema": "lth-run/1"})
    assert "not finished" in page_of(tmp_path / "run")


def test_an_empty_benchmark_has_a_page(tmp_path: Path) -> None:
    assert "Benchmark" in page_of(write(tmp_path / "b.json", {"schema": "lth-benchmark/1", "rows": []}))


def test_masks_and_keypoints_get_plots_and_columns_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "run" / "summary.json", make_run(("bbox", "segm", "keypoints")))
    page = page_of(tmp_path / "run")
    for kind in ("Mask AP, test", "Keypoint AP, val"):
        assert f">{kind}</th>" in page


def test_figures_that_are_not_finite_are_dashes(tmp_path: Path) -> None:
    run = make_run()
    run["trials"][3]["test"]["bbox"]["AP"] = float("nan")
    run["trials"][3]["val"]["bbox"]["AP"] = float("inf")
    write(tmp_path / "run" / "summary.json", run)
    page = page_of(tmp_path / "run")
    assert not re.search(r">\s*[+-]?(nan|inf)", page, re.IGNORECASE)
    assert embedded(page)["run"]["trials"][3]["test"]["bbox"]["AP"] is None


def test_sixty_trials_fit(tmp_path: Path) -> None:
    run = make_run()
    few = {**run["trials"][1], "losses": [], "layers": []}
    run["trials"] += [{**few, "name": f"level_{i}", "sparsity_prunable": i / 100} for i in range(1, 60)]
    write(tmp_path / "run" / "summary.json", run)
    assert "level_59" in page_of(tmp_path / "run")


def poisoned(value: Any) -> Any:
    """The same document with hostile text in every text that may be free."""
    if isinstance(value, dict):
        fixed = ("schema", "kind", "trial", "control", "metric", "interval_split")
        return {key: item if key in fixed else poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return HOSTILE + value + "\x00\x1b\ud800" if isinstance(value, str) else value


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run, results = poisoned(make_run()), poisoned(make_benchmark())
    run["winner"]["trial"] = HOSTILE + "level_80\x00\x1b\ud800"
    run["trials"][0]["kind"] = results["rows"][0]["kind"] = f'dense" {HOSTILE}'
    run["dataset"]["classes"] = [HOSTILE]
    run["versions"] = {HOSTILE: HOSTILE}
    run["pictures"] = [{"title": HOSTILE, "path": HOSTILE}]
    run["trials"][1]["val"] = {HOSTILE: {"AP": 0.5}}
    write(tmp_path / "run" / "summary.json", run)
    write(tmp_path / "run" / "benchmark.json", results)
    reader = Reader(page_of(tmp_path / "run"))
    assert len(reader.every("script")) == 2
    assert not any(key.startswith("on") for _, attributes in reader.elements for key in attributes)
    assert reader.every("img") == []
    assert any("<script>alert(1)</script>" in word for word in reader.words)


def test_pictures_are_embedded_anew(run_directory: Path) -> None:
    Image.new("RGB", (64, 48), (9, 80, 200)).save(run_directory / "dog.png")
    run = make_run()
    run["pictures"] = [{"title": "a dog", "path": "dog.png"}]
    write(run_directory / "summary.json", run)
    (picture,) = Reader(page_of(run_directory)).every("img")
    assert (picture["src"] or "").startswith("data:image/jpeg;base64,")
    assert (picture["alt"], picture["width"]) == ("a dog", "64")


def test_a_picture_that_cannot_be_shown_is_a_warning(run_directory: Path) -> None:
    Image.new("RGB", (8, 8)).save(run_directory.parent / "outside.png")
    (run_directory / "text.png").write_text("no picture")
    Image.new("1", (8200, 8200)).save(run_directory / "large.png")
    Image.new("RGB", (8, 8)).save(run_directory / "other.png", "TIFF")
    paths = ("missing.png", "../outside.png", "text.png", "/etc/hostname", "large.png", "other.png")
    run = make_run()
    run["pictures"] = [{"title": "t", "path": path} for path in paths]
    write(run_directory / "summary.json", run)
    page = page_of(run_directory)
    assert Reader(page).every("img") == []
    for path in paths:
        assert f"The image {path} is not shown" in page


def test_the_same_source_gives_the_same_page(run_directory: Path, whole: str) -> None:
    again = page_of(run_directory)
    # Only the commands name the folder that the run lies in.
    assert re.sub(r"<pre>.*?</pre>", "", again, flags=re.DOTALL) == re.sub(
        r"<pre>.*?</pre>", "", whole, flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"trials": [{"name": 5}]}, "trials.0.name"),
        (
            {"trials": [{"name": "a", "layers": [{"name": "l", "elements": 3, "zeros": 4}]}]},
            "trials.0.layers.0",
        ),
        ({"parameters": {"total": -1}}, "parameters.total"),
        ({"schema": "other/1"}, "schema"),
    ],
)
def test_a_damaged_summary_is_refused_with_the_place(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    write(tmp_path / "run" / "summary.json", {**make_run(), **change})
    with pytest.raises(DataError, match=place):
        page_of(tmp_path / "run")


def test_nested_bombs_and_empty_folders_are_refused(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(60):
        deep = [deep]
    write(tmp_path / "run" / "summary.json", {**make_run(), "notes": deep})
    with pytest.raises(DataError, match="levels deep"):
        page_of(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"summary\.json"):
        page_of(tmp_path / "empty")


def test_a_plot_for_documents_is_one_svg_file(run_directory: Path) -> None:
    assert plot(run_directory, run_directory / "ap.svg").read_text().startswith("<svg ")
    run = make_run()
    for one in run["trials"]:
        one["test"] = None
    write(run_directory / "summary.json", run)
    with pytest.raises(UsageError, match="test"):
        plot(run_directory, run_directory / "ap.svg")
