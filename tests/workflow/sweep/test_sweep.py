"""`sweep`: its rows, their order and sharing, what a lost row costs, and how it is taken up again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy import storage
from lth_deploy.config.sweep_spec import load_sweep
from lth_deploy.errors import DataError, RecipeError, StorageError, UsageError
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.report import report
from lth_deploy.workflow.sweep import processes
from lth_deploy.workflow.sweep.rows import SweepRow, rows_of
from lth_deploy.workflow.sweep.sweep import SweepResult, sweep
from tests.cli.running import Cli, Outcome
from tests.waiting import has_ended, killed_at_the_end, wait_until
from tests.workflow.ticket_runs import tiny_recipe

PROJECT = Path(__file__).parents[3]
STAND_IN = "from tests.workflow.search.stand_in_search import main; main()"
LEVELS = "axes: {pruning.levels: [[0.5], [0.8]]}"


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "really" not in request.fixturenames:
        monkeypatch.setattr(processes, "PROGRAM", STAND_IN)
        monkeypatch.setenv("PYTHONPATH", str(PROJECT))


@pytest.fixture
def really() -> None:
    """Rows are searched by `find-ticket`."""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(capsys, monkeypatch)


def written(folder: Path, text: str) -> Path:
    """A sweep file beside its base recipe."""
    (folder / "base.yaml").write_text(tiny_recipe().to_yaml())
    (folder / "s.yaml").write_text(f"name: small\nrecipe: base.yaml\n{text}\n")
    return folder / "s.yaml"


def expanded(folder: Path, text: str) -> list[SweepRow]:
    return rows_of(load_sweep(written(folder, text)), folder / "out")


def swept(folder: Path, text: str, **options: Any) -> SweepResult:
    return sweep(load_sweep(written(folder, text)), folder / "out", devices=["cpu"], **options)


def starts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "starts.jsonl").read_text().splitlines()]


def states(result: SweepResult) -> dict[str, str]:
    return {row.id: row.state for row in result.record.rows}


def test_rows_axes_and_seeds_multiply_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "seeds: [3, 4]\naxes: {pruning.levels: [[0.5], [0.8]], pruning.allocation: {uniform: per_layer, ERK: erk}}"
    rows = expanded(tmp_path, f"{text}\nrows: [{{name: a}}, {{name: b, seeds: [0], axes: {{}}}}]")
    names = [f"a-{level}-{how}-seed{seed}" for seed in (3, 4) for level in (0.5, 0.8) for how in ("uniform", "ERK")]
    assert [row.id for row in rows] == [*names, "b-seed0"]
    assert rows[1].recipe.pruning.allocation == "erk"
    assert rows[2].recipe.pruning.level_list() == [0.8]
    assert [row.recipe.training.seed for row in rows] == [3] * 4 + [4] * 4 + [0]
    assert rows[0].choices["pruning.levels"].number == 0.5
    assert rows[0].choices["pruning.allocation"].number is None


def test_a_sweep_says_which_controls_there_are(tmp_path: Path) -> None:
    text = "controls: [random]\nrows: [{name: a}, {name: b, controls: [], set: {pruning.levels: [0.7]}}]"
    first, second = expanded(tmp_path, text)
    assert (first.recipe.controls.random, first.recipe.controls.reinit) == ([0.8], [])
    assert (second.recipe.controls.random, second.recipe.controls.reinit) == ([], [])


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ("[{to: 0.9, rounds: 1}, {to: 0.9, rounds: 3}]", [1.0, 3.0]),
        ("[{to: 0.9}, {to: 0.8}]", [0.9, 0.8]),
        ("[[0.5], [0.5, 0.8]]", [0.5, 0.8]),
        ("{low: [0.1], high: [0.9]}", [0.1, 0.9]),
    ],
)
def test_the_numbers_of_an_axis(tmp_path: Path, values: str, numbers: list[float]) -> None:
    rows = expanded(tmp_path, f"axes: {{pruning.levels: {values}}}")
    assert [row.choices["pruning.levels"].number for row in rows] == numbers


def test_a_source_is_the_run_of_an_earlier_row_with_the_same_values(tmp_path: Path) -> None:
    source = 'set: {source: {run: "${rows.a}", transfer: mask}}'
    rows = expanded(tmp_path, f"seeds: [0, 1]\n{LEVELS}\nrows: [{{name: a}}, {{name: b, {source}}}]")
    for row in rows[4:]:
        twin = row.id.replace("b-", "a-")
        assert row.needs == (twin,)
        assert row.recipe.source is not None
        assert row.recipe.source.run == str((tmp_path / "out" / "runs" / twin).resolve())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1", r"s.yaml, line 3: sed: unknown key; did you mean 'seeds'"),
        ("rows:\n  - {name: a, sets: {}}", r"s.yaml, line 4: rows.0.sets: unknown key"),
        ("set:\n  pruning.levls: [0.5]", r"s.yaml, line 4: row 'ticket-seed0': .*unknown key; did you mean 'levels'"),
        (
            "rows:\n  - name: a\n    axes: {pruning.levels: [[0.5], [2]]}",
            r"s.yaml, line 5: row 'a-2-seed0': set pruning",
        ),
        ("recipe: other", "line 3: key 'recipe' is given twice"),
        ("rows: [{name: a}, {name: a}]", "the run a-seed0 is there twice"),
        ("set: {training.seed: 3}", "'training.seed' is given by the sweep's own key 'seeds'"),
        ("x: pruning.rewind", "x: 'pruning.rewind' is no axis of this sweep; its axes are none"),
        ("x: pruning.allocation\naxes: {pruning.allocation: [erk, macs]}", "s.yaml, line 3: x: .* has no numbers"),
        ("axes: {training.batch_size: []}", "axes.training.batch_size"),
        (f"seeds: [{', '.join(map(str, range(501)))}]\n{LEVELS}", "multiply to 1002 runs, at most 1000"),
        ('rows: [{name: b, set: {source.run: "${rows.a}"}}, {name: a}]', "but no earlier row is called so"),
        (
            f'seeds: [0, 1]\nrows: [{{name: a, {LEVELS}}}, {{name: b, set: {{source.run: "${{rows.a}}"}}}}]',
            "of which 2 runs have its axes' values",
        ),
    ],
)
def test_a_wrong_sweep_is_refused_with_its_place_before_anything_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        swept(tmp_path, text)
    assert not (tmp_path / "out").exists()


def test_what_one_row_would_be_refused_for_is_found_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"row 'b-seed0': pruning: the pattern 'nothing\*' matches no layer"):
        swept(tmp_path, 'rows: [{name: a}, {name: b, set: {pruning.include: ["nothing*"]}}]')
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("taking", "message"),
    [
        ("pruning.levels: [0.8, 0.9]", r"row 'b-seed0' takes tickets of 90 % zeros from 'a-seed0', which searches"),
        (
            "detector.backbone: resnet34",
            r"the ticket of 'a-seed0' does not fit: backbone\.body\.layer1\.2\.conv1\.weight is absent in the "
            r"source and 64x64x3x3 here;.* these parts fit: set source\.groups: \[fpn, dense_head\]",
        ),
        ("detector.frozen_layers: 2", r"row 'b-seed0': the ticket of 'a-seed0' prunes backbone\.body\.conv1"),
    ],
)
def test_tickets_that_will_not_fit_are_refused_before_any_run(tmp_path: Path, taking: str, message: str) -> None:
    text = f'rows: [{{name: a}}, {{name: b, set: {{source: {{run: "${{rows.a}}"}}, {taking}}}}}]'
    with pytest.raises((RecipeError, DataError), match=message):
        swept(tmp_path, text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ("pruning.levels: [0.999999999]", "leaves nothing to train: the most that can be reached is 0.999"),
        ("pruning.structure: filter, pruning.levels: [0.999]", "each layer keeps one.*most that can be reached is 0.9"),
        (
            "pruning.schedule: post_training, pruning.levels: [0.97]",
            "which leaves each layer 5% of its weights: the most that can be reached is 0.95",
        ),
    ],
)
def test_what_no_mask_reaches_is_refused_before_any_run(tmp_path: Path, pruning: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"row 'b-seed0': pruning.levels: a sparsity of .*{message}"):
        swept(tmp_path, f"rows: [{{name: a}}, {{name: b, set: {{{pruning}}}}}]")
    assert not (tmp_path / "out").exists()


def test_equal_dense_trainings_are_done_once(tmp_path: Path) -> None:
    result = swept(tmp_path, f"seeds: [0, 1]\ncontrols: [random]\n{LEVELS}")
    assert result.finished
    assert [(one["row"], one["dense_from"]) for one in starts(tmp_path)] == [
        ("ticket-0.5-seed0", None),
        ("ticket-0.8-seed0", "ticket-0.5-seed0"),
        ("ticket-0.5-seed1", None),
        ("ticket-0.8-seed1", "ticket-0.5-seed1"),
    ]
    row = result.record.rows[1]
    assert row.tickets[0].test_ap == pytest.approx(0.44)
    assert row.tickets[0].random.test_ap == pytest.approx(0.34)
    assert row.dense.test_ap == 0.55
    assert row.dense.hardware == "H200"
    assert row.command[:2] == ["lth-deploy", "find-ticket"]
    assert storage.read_json(tmp_path / "out" / "sweep.json") == result.record.as_json()


def test_the_table_has_mean_and_deviation_over_seeds_and_a_page_and_plots(cli: Cli, tmp_path: Path) -> None:
    file = written(tmp_path, f"seeds: [0, 1]\ncontrols: [random]\n{LEVELS}")
    outcome = cli("sweep", file, "--out", tmp_path / "out", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    line = next(line for line in outcome.out.splitlines() if line.startswith("ticket, 0.8"))
    assert "44.5 ± 0.7" in line
    assert "34.5 ± 0.7" in line
    assert "2 finished" in line
    assert (tmp_path / "out" / "plot.svg").read_text().startswith("<svg")
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    page = report(tmp_path / "out", tmp_path / "again.html").read_text()
    assert page == (tmp_path / "out" / "report.html").read_text()
    assert "ticket-0.8-seed1" in page


def test_a_lost_row_costs_only_what_needs_it_and_resume_takes_it_up(cli: Cli, tmp_path: Path) -> None:
    source = 'set: {source: {run: "${rows.lost}"}, training.batch_size: 1}'
    file = written(tmp_path, f"rows: [{{name: lost}}, {{name: needy, {source}}}, {{name: other, seeds: [1]}}]")

    def run(*options: object) -> Outcome:
        return cli("sweep", file, "--out", tmp_path / "out", "--device", "cpu", *options)

    first = run()
    assert first.code == 1
    assert "2 of 3 runs were lost" in first.err
    assert "lost-seed0: the loss stopped being finite;\nlower it" in first.err
    record = storage.read_json(tmp_path / "out" / "sweep.json")
    assert [row["state"] for row in record["rows"]] == ["failed", "blocked", "finished"]
    assert record["rows"][0]["exit_code"] == 1
    assert "which was lost" in record["rows"][1]["error"]
    assert "finished" in next(line for line in first.out.splitlines() if line.startswith("other"))
    assert run().code == 2
    (tmp_path / "out" / "mended").touch()
    again = run("--resume")
    assert again.code == 0, again.err
    assert [(one["row"], one["resumed"]) for one in starts(tmp_path)[2:]] == [
        ("lost-seed0", True),
        ("needy-seed0", False),
    ]


def test_a_row_that_is_killed_says_by_what(tmp_path: Path) -> None:
    result = swept(tmp_path, "rows: [{name: killed}, {name: other}]")
    assert states(result) == {"killed-seed0": "failed", "other-seed0": "finished"}
    assert "SIGKILL" in result.record.rows[0].error


def test_rows_run_at_once_and_wait_for_a_dense_training_that_is_under_way(tmp_path: Path) -> None:
    """The second row may begin as soon as the dense training of the first, which never ends by itself, is there."""
    (tmp_path / "base.yaml").write_text(tiny_recipe().to_yaml())
    rows = "[{name: endless}, {name: second}, {name: third, seeds: [1]}]"

    def begun() -> list[str]:
        file = tmp_path / "out" / "starts.jsonl"
        return [json.loads(line)["row"] for line in file.read_text().splitlines()] if file.exists() else []

    with killed_at_the_end(started(tmp_path, f"rows: {rows}", "--jobs", "2")) as process:
        wait_until(lambda: len(begun()) == 3, "the start of three rows")
        # What has ended is drawn at once, with the empty cells of what has not.
        drawn = [tmp_path / "out" / name for name in ("plot.svg", "report.html")]
        wait_until(lambda: all(file.exists() for file in drawn), "a report")
        assert "running" in (tmp_path / "out" / "report.html").read_text()
        (tmp_path / "out" / "go").touch()
        assert process.wait(240) == 0
    assert set(begun()[:2]) == {"endless-seed0", "third-seed1"} or begun()[0] == "endless-seed0"
    by_row = {one["row"]: one for one in starts(tmp_path)}
    assert by_row["second-seed0"]["dense_from"] == "endless-seed0"
    assert by_row["third-seed1"]["dense_from"] is None


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_all_rows_and_leaves_them_to_resume(tmp_path: Path, sign: signal.Signals) -> None:
    text = "rows: [{name: endless}, {name: other, seeds: [1]}]"
    run = tmp_path / "out" / "runs" / "endless-seed0"
    with killed_at_the_end(started(tmp_path, text)) as process:
        wait_until(lambda: dense_is_done(run), "the end of the dense training")
        process.send_signal(sign)
        assert process.wait(240) == 130
    assert "unfinished" in (tmp_path / "out" / "report.html").read_text()
    record = storage.read_json(tmp_path / "out" / "sweep.json")
    assert [row["state"] for row in record["rows"]] == ["unfinished", "waiting"]
    with storage.locked(tmp_path / "out"):
        pass
    (tmp_path / "out" / "go").touch()
    assert states(swept(tmp_path, text, resume=True)) == {"endless-seed0": "finished", "other-seed1": "finished"}


def test_a_sweep_that_is_killed_leaves_no_run_behind(tmp_path: Path) -> None:
    text = "rows: [{name: endless}]"
    run = tmp_path / "out" / "runs" / "endless-seed0"
    with killed_at_the_end(started(tmp_path, text)) as process:
        wait_until(lambda: dense_is_done(run), "the end of the dense training")
        process.kill()
    (child,) = {one["process"] for one in starts(tmp_path)}
    wait_until(lambda: has_ended(child), "the end of the row")
    (tmp_path / "out" / "go").touch()
    assert states(swept(tmp_path, text, resume=True)) == {"endless-seed0": "finished"}


def dense_is_done(run: Path) -> bool:
    return (run / "manifest.json").exists() and RunDirectory(run).trial("dense").finished


def started(folder: Path, text: str, *options: str) -> "subprocess.Popen[bytes]":
    """A sweep in a process of its own, with the stand-in for its rows."""
    program = (
        "from lth_deploy.workflow.sweep import processes\n"
        f"processes.PROGRAM = {STAND_IN!r}\n"
        "from lth_deploy.cli import main; main()"
    )
    command = ["sweep", str(written(folder, text)), "--out", str(folder / "out"), "--device", "cpu", *options]
    return subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_when_the_time_is_over_nothing_more_begins(tmp_path: Path) -> None:
    text = "rows: [{name: a}, {name: b}]"
    result = swept(tmp_path, text, max_seconds=0.0)
    assert not result.finished
    assert set(states(result).values()) == {"waiting"}
    assert swept(tmp_path, text, resume=True).finished


def test_some_rows_may_come_first_with_what_they_need(tmp_path: Path) -> None:
    source = 'set: {source: {run: "${rows.a}"}}'
    text = f"rows: [{{name: a, {LEVELS}}}, {{name: b, {LEVELS}, {source}}}]"
    with pytest.raises(UsageError, match=r"--rows: no row is called 'b-0\.9'; valid: a, a-0\.5-seed0"):
        swept(tmp_path, text, only=["b-0.9"])
    assert not (tmp_path / "out").exists()
    first = swept(tmp_path, text, only=["b-0.8*"])
    assert [one["row"] for one in starts(tmp_path)] == ["a-0.8-seed0", "b-0.8-seed0"]
    assert not first.finished
    assert states(first)["a-0.5-seed0"] == "waiting"
    assert swept(tmp_path, text, resume=True).finished
    by_row = {one["row"]: one["dense_from"] for one in starts(tmp_path)}
    assert by_row["a-0.5-seed0"] == "a-0.8-seed0"


def test_a_sweep_may_grow_but_not_change(tmp_path: Path) -> None:
    swept(tmp_path, "rows: [{name: a}]")
    with pytest.raises(UsageError, match="go on with --resume"):
        swept(tmp_path, "rows: [{name: a}]")
    longer = swept(tmp_path, "rows: [{name: a}, {name: b, seeds: [1]}]", resume=True)
    assert [one["row"] for one in starts(tmp_path)] == ["a-seed0", "b-seed1"]
    assert longer.finished
    with pytest.raises(UsageError, match="was made with another recipe than row 'a-seed0' has now"):
        swept(tmp_path, "rows: [{name: a, set: {training.batch_size: 1}}]", resume=True)


def test_a_folder_with_something_else_is_left_alone_and_so_is_one_in_use(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(UsageError, match="what it holds is no sweep"):
        swept(tmp_path, "seeds: [0]")
    (tmp_path / "out" / "notes.txt").unlink()
    with storage.locked(tmp_path / "out"), pytest.raises(StorageError, match="another process"):
        swept(tmp_path, "seeds: [0]")


def test_every_device_gets_its_gpu_and_its_share_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cores = len(os.sched_getaffinity(0))
    slots = processes.slots_of(["cuda:0", "cuda:3"], None)
    assert [slot.variables["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "3"]
    assert {slot.device for slot in slots} == {"cuda"}
    assert {slot.variables["OMP_NUM_THREADS"] for slot in slots} == {str(max(1, cores // 2))}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (slot,) = processes.slots_of(["cuda:1"], 1)
    assert slot.variables == {"CUDA_VISIBLE_DEVICES": "7"}
    assert [slot.name for slot in processes.slots_of(["cpu"], 3)] == ["cpu"] * 3
    for devices, jobs, message in ((["gpu"], None, "unknown --device 'gpu'"), (["cpu"], 0, "--jobs 0")):
        with pytest.raises(UsageError, match=message):
            processes.slots_of(devices, jobs)


@pytest.mark.slow
def test_the_smoke_of_a_sweep_trains_every_row_from_its_source(
    really: None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a folder named from here is not one beside the recipes
    text = """\
controls: [random]
set: {pruning.levels: [0.8]}
rows:
  - {name: early, set: {pruning.early_masks: {every: 2, take: 4}}}
  - {name: carried, set: {source: {run: "${rows.early}", groups: [backbone]}}}"""
    outcome = cli("sweep", written(tmp_path, text), "--out", "out", "--smoke", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    record = storage.read_json(tmp_path / "out" / "sweep.json")
    early, carried = record["rows"]
    assert [mask["step"] for mask in early["early_masks"]] == [1, 2]
    assert early["early_masks"][-1]["overlap"] == 1.0
    assert carried["tickets"][0]["random"] is not None
    ticket = RunDirectory.open(tmp_path / "out" / carried["run"])
    assert ticket.recipe().source is not None
