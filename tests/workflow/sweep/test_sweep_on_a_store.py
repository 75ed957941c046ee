"""Sweeps on an object store: rows on machines that share no disk, a resume elsewhere, and what Ray has queued."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
pytest.importorskip("fsspec", reason="fsspec comes with the extra 'remote'")

from lth_deploy.config.sweep_spec import Resources, load_sweep
from lth_deploy.errors import StorageError
from lth_deploy.run.remote.lease import Lease
from lth_deploy.run.remote.location import location_of
from lth_deploy.run.remote.place_files import inside, read_file, write_file
from lth_deploy.workflow.sweep import processes
from lth_deploy.workflow.sweep.launchers import remote_row
from lth_deploy.workflow.sweep.launchers.protocol import Task
from lth_deploy.workflow.sweep.status import status_of_place
from lth_deploy.workflow.sweep.sweep import SweepResult, sweep
from tests.run.s3_server import bucket
from tests.waiting import SECONDS, wait_until
from tests.workflow.ticket_runs import tiny_recipe

PROJECT = Path(__file__).parents[3]
SOURCE = 'rows: [{name: a}, {name: lost, seeds: [1]}, {name: c, set: {source: {run: "${rows.a}"}}}]'


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a sweep; its rows are run by a stand-in for `find-ticket`."""
    monkeypatch.setattr(processes, "PROGRAM", "from tests.workflow.search.stand_in_search import main; main()")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))
    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / "here"))
    yield from bucket(monkeypatch)


def swept(folder: Path, url: str, text: str, launcher: str, **options: Any) -> SweepResult:
    (folder / "base.yaml").write_text(tiny_recipe().to_yaml())
    (folder / "s.yaml").write_text(f"name: small\nrecipe: base.yaml\n{text}\n")
    return sweep(load_sweep(folder / "s.yaml"), url, devices=["cpu"], launcher=launcher, **options)


def starts(folder: Path) -> list[dict[str, Any]]:
    file = folder / "starts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def states(url: str) -> dict[str, str]:
    return {row.id: row.state for row in status_of_place(url).rows}


def test_a_sweep_begins_on_a_cluster_and_is_resumed_on_another_machine(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="submitit comes with the extra 'slurm'")
    first = swept(tmp_path, store, SOURCE, "slurm", launcher_options={"cluster": "local"})
    found = {"a-seed0": "finished", "lost-seed1": "failed", "c-seed0": "finished"}
    assert {row.id: row.state for row in first.record.rows} == found == states(store)
    assert first.record.rows[0].tickets
    assert [start["row"] for start in starts(tmp_path)].index("a-seed0") == 0
    recipe = read_file(inside(store, "recipes", "c-seed0.yaml"))
    assert recipe is not None
    assert f"run: {store}/runs/a-seed0\n" in recipe.decode()
    assert read_file(inside(store, "report.html"))
    assert read_file(inside(store, "runs", "a-seed0", "summary.json"))
    assert not (first.path / "runs" / "a-seed0" / "trials" / "dense" / "weights.safetensors").exists()

    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / "other"))
    (tmp_path / "mended").touch()
    second = swept(tmp_path, store, SOURCE, "local", resume=True)
    assert second.finished
    assert set(states(store).values()) == {"finished"}
    again = starts(tmp_path)[3:]
    assert [(start["row"], start["resumed"]) for start in again] == [("lost-seed1", True)]


def test_a_dense_training_is_taken_from_the_store(store: str, tmp_path: Path) -> None:
    text = "rows: [{name: a}, {name: b, set: {pruning.levels: [0.5]}}]"
    assert swept(tmp_path, store, text, "local").finished
    assert [start["dense_from"] for start in starts(tmp_path)] == [None, "a-seed0"]


def test_two_sweeps_at_one_place_are_refused(store: str, tmp_path: Path) -> None:
    lease = Lease(location_of(store))
    lease.take()
    with pytest.raises(StorageError, match=rf"^{store} is worked on by .*, process \d+; wait for it, or use another"):
        swept(tmp_path, store, "seeds: [0]", "local")
    lease.give_back()
    assert read_file(inside(store, "sweep.json")) is None
    assert not starts(tmp_path)


def test_a_row_waits_for_a_lost_one_and_gets_first_weights(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine than the sweep's, whose folder is not there."""
    run = inside(store, "runs", "a")
    task = Task("a", "", run, inside(store, "starts", "a.json"), Resources(), "import sys; sys.exit(3)")
    for name in (("a.safetensors",), ("a.images", "train", "gray", "0.png")):
        write_file(inside(store, "initial", *name), b"bytes")
    task = replace(task, brought=(inside(store, "initial"), tmp_path / "there"))
    monkeypatch.setattr(remote_row, "LEASE_WAIT", 0.0)
    lease = Lease(location_of(run))
    lease.take()
    ended = remote_row.run_row(task, "cpu", 1)
    assert ended.code != 3
    assert f"{run} is worked on by" in str(ended.error)
    lease.give_back()
    assert remote_row.run_row(task, "cpu", 1).code == 3
    files = sorted(str(file.relative_to(tmp_path / "there")) for file in (tmp_path / "there").rglob("*.*"))
    assert files == ["a.images", "a.images/train/gray/0.png", "a.safetensors"]


@pytest.mark.slow
def test_what_ray_has_no_place_for_is_queued(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray comes with the extra 'ray'")
    from ray._private import services
    from ray.cluster_utils import Cluster

    # Ray takes a loopback address for that of the network card.
    monkeypatch.setattr(services, "get_node_ip_address", lambda *_: "127.0.0.1")
    node = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20, "include_dashboard": False}
    seen: list[Any] = []

    def look() -> None:
        try:
            wait_until(lambda: starts(tmp_path), "the start of the first row")
            seen.extend(status_of_place(store).rows)
        finally:
            (tmp_path / "go").touch()

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **node})
    other = threading.Thread(target=look)
    try:
        other.start()
        text = "rows: [{name: endless}, {name: b, seeds: [1]}]"
        result = swept(tmp_path, store, text, "ray", launcher_options={"address": cluster.address})
        other.join(SECONDS)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert [(row.state, bool(row.host)) for row in seen] == [("running", True), ("queued", False)]
    assert result.finished, [row.error for row in result.record.rows]
    assert set(states(store).values()) == {"finished"}
