"""Rows of hosts in the report: their machine, their own baseline, clock and temperature over time."""

import re
from pathlib import Path
from typing import Any

from lth_deploy.measure.results import BenchmarkResults, load_benchmark
from lth_deploy.reporting.benchmark.condition_plots import MOST_PLOTS, condition_plots
from lth_deploy.reporting.benchmark.tables import hosts, latency_points, main
from lth_deploy.reporting.verdict import baseline_of
from lth_deploy.workflow.report import report
from tests.reporting.report_samples import make_benchmark, write

HOSTS = ("pi@board", "local")


def document() -> dict[str, Any]:
    """The sample's rows twice, on a board that gets hot and on a machine that says nothing of itself."""
    sample = make_benchmark()
    sample["rows"] = [{**row, "host": host, "cores": "big 2,3"} for host in HOSTS for row in sample["rows"]]
    first = sample["rows"][0]
    first["conditions"] = [
        {
            "at": float(number),
            "p50": 40.0 + number,
            "mhz": [2400.0, 600.0 if number == 3 else 2400.0],
            "celsius": {"0 cpu": 50.0 + 5 * number, "1 gpu": 40.0},
            "throttled": number == 3,
            "repeated": number == 3,
        }
        for number in range(5)
    ]
    first["sustained"] = [
        {"seconds": 60.0, "per_second": 20.0},
        {"seconds": 600.0, "per_second": 9.5, "first_per_second": 20.0, "last_per_second": 8.0},
    ]
    first["energy"] = {"joules": 0.25, "idle_watts": 2.5, "source": "rapl", "counters": ["package-0"]}
    first["energy"]["beside"] = {"rapl package-0/core": 0.125}
    first["latency_ms"]["p50"] = 300.0
    first["read_ms"], first["prepare_ms"] = 12.5, 4.25
    machine = {**sample["machine"], "cpu": "Cortex-A76"}
    programs = {"lth_consumer": 800_000, "liblth_ops.so": 2_000_000, "libonnxruntime.so": 20_000_000}
    sample["hosts"] = [
        {
            "name": "pi@board",
            "board": "Raspberry Pi 5",
            "machine": machine,
            "onnxruntime": "1.32.0",
            "programs": programs,
        },
        {"name": "local", "machine": sample["machine"], "onnxruntime": "1.32.0", "emulated": True},
    ]
    return sample


def load(folder: Path, sample: dict[str, Any]) -> BenchmarkResults:
    return load_benchmark(write(folder / "benchmark.json", sample))[0]


def test_each_host_has_its_own_baseline_and_series(tmp_path: Path) -> None:
    results = load(tmp_path, document())
    for row in results.rows:
        base = baseline_of(row, results.rows)
        assert base is not None
        assert base.host == row.host
    series = {point.series for points in latency_points(results).values() for point in points}
    assert series == {f"{engine}, {host}" for engine in ("onnxruntime", "openvino") for host in HOSTS}


def test_the_table_has_what_hosts_add(tmp_path: Path) -> None:
    table = main(load(tmp_path, document()))
    titles = [column.title for column in table.columns]
    cells = dict(zip(titles, table.lines[0].cells, strict=True))
    assert (cells["Host"].text, cells["Host"].note) == ("pi@board", "big 2,3")
    assert (cells["Images/s"].text, cells["Images/s"].note) == ("9.5", "600 s: 20 at first, 8 in the end")
    assert (cells["J per image"].text, cells["J per image"].note) == (
        "0.25",
        "rapl package-0, 2.5 W idle, rapl package-0/core: 0.125 J",
    )
    assert (cells["Input ms"].text, cells["Input ms"].note) == ("16.8", "12.5 + 4.25")
    own = [column.title for column in main(load(tmp_path, make_benchmark())).columns]
    assert not {"Host", "Images/s", "J per image", "Input ms"} & set(own)


def test_a_plot_shows_clock_heat_and_throttled_blocks(tmp_path: Path) -> None:
    (drawn,) = condition_plots(load(tmp_path, document()))
    for words in ("clock, GHz", "hottest zone, °C", "throttled block", "pi@board", "throttled, measured again"):
        assert words in drawn
    cold = document()
    for block in cold["rows"][0]["conditions"]:
        block["mhz"] = []
    (drawn,) = condition_plots(load(tmp_path, cold))
    assert "clock, GHz" not in drawn
    assert "hottest zone" in drawn
    many = document()
    many["rows"] = [many["rows"][0]] * (MOST_PLOTS + 2)
    assert len(condition_plots(load(tmp_path, many))) == MOST_PLOTS


def test_the_page_has_hosts_and_plots(tmp_path: Path) -> None:
    text = report(write(tmp_path / "benchmark.json", document()), tmp_path / "page.html").read_text()
    assert "Raspberry Pi 5" in text
    assert "Cortex-A76" in text
    assert "Clock and temperature over time" in text
    assert text.count('<table class="wide">') == 1, "the table of all rows is set narrow, so that it fits"
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    table = hosts(load(tmp_path, document()))
    assert table is not None
    assert [line.cells[0].note for line in table.lines] == ["", "emulated: no times"]
    plain = report(write(tmp_path / "plain.json", make_benchmark()), tmp_path / "plain.html").read_text()
    assert "Clock and temperature" not in plain
