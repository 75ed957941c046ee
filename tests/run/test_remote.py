"""Runs on remote places: whole at any moment, resumed elsewhere, one writer, and damage is found."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec", reason="fsspec comes with the extra 'remote'")

from lth_deploy import storage
from lth_deploy.errors import DataError, StorageError, UsageError
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.remote import lease
from lth_deploy.run.remote.location import Location, location_of
from lth_deploy.run.remote.look import copy_files
from lth_deploy.run.remote.mirror import Mirror, remote_folder, working_folder
from lth_deploy.run.remote.place_files import delete_file, inside, read_file, write_file
from lth_deploy.run.trial_result import TrialResult
from tests.run.s3_server import bucket
from tests.waiting import SECONDS
from tests.workflow.ticket_runs import tiny_recipe


@pytest.fixture(params=["memory", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / "here"))
    if request.param == "memory":
        import fsspec

        yield "memory://runs/mine"
        fsspec.filesystem("memory").store.clear()
    elif request.param == "file":
        yield f"file://{tmp_path}/there/mine"
    else:
        yield from bucket(monkeypatch)


def begun(folder: Path) -> RunDirectory:
    """A run whose dense training is done, and whose first level has a checkpoint."""
    run = RunDirectory.create(folder, tiny_recipe())
    dense = run.trial("dense")
    for file in (dense.weights, dense.metrics):
        storage.write_text(file, "something")
    dense.commit(TrialResult(name="dense", kind="dense", steps=(0, 60), positions={}))
    storage.write_text(run.trial("level_80").checkpoint, "a state")
    return run


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """From now on this is another machine: its local folder is empty."""
    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / name))


def remote_names(location: Location) -> set[str]:
    return {path.removeprefix(location.root).lstrip("/") for path in location.files.find(location.root)}


def test_another_machine_goes_on_with_the_run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with remote_folder(url) as folder:
        begun(folder)
    location = location_of(url)
    names = remote_names(location)
    assert {"manifest.json", "recipe.yaml", "trials/dense/result.json"} <= names
    assert "trials/level_80/checkpoint.safetensors" in names
    assert lease.LEASE not in names
    elsewhere(monkeypatch, tmp_path, "other")
    with remote_folder(url) as folder:
        assert str(folder).startswith(str(tmp_path / "other"))
        run = RunDirectory.open(folder)
        assert run.trial("dense").read_result().steps == (0, 60)
        checkpoint = run.trial("level_80").checkpoint
        assert checkpoint.read_text() == "a state"
        level = run.trial("level_80")
        for file in (level.weights, level.metrics):
            storage.write_text(file, "more")
        level.commit(TrialResult(name="level_80", kind="ticket", steps=(0, 60), positions={}))
    names = remote_names(location)
    assert "trials/level_80/result.json" in names
    assert "trials/level_80/checkpoint.safetensors" not in names


def test_a_manifest_comes_after_its_files(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    location = location_of(url)
    location.files.makedirs(location.root, exist_ok=True)
    run = begun(location.local)
    mirror, order = Mirror(location, location.local), []
    put = mirror._put
    monkeypatch.setattr(mirror, "_put", lambda file, data: (order.append(file.name), put(file, data)))
    storage.write_text(run.trial("dense").weights, "torn")  # as if it were being replaced at this moment
    mirror.push()
    assert "manifest.json" not in order
    storage.write_text(run.trial("dense").weights, "something")
    mirror.push()
    assert order[-1] == "manifest.json"


def test_files_without_a_manifest_are_read_again_only_when_they_were_touched(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = location_of(url)
    location.files.makedirs(location.root, exist_ok=True)
    run, read = begun(location.local), []
    mirror = Mirror(location, location.local)
    monkeypatch.setattr(mirror, "_bytes", lambda file: (read.append(file.name), file.read_bytes())[1])
    checkpoint, name = run.trial("level_80").checkpoint, "trials/level_80/checkpoint.safetensors"
    for state, count in (("a state", 1), ("a state", 1), ("another", 2)):
        if checkpoint.read_text() != state:
            storage.write_text(checkpoint, state)
        mirror.push()
        assert read.count(checkpoint.name) == count
        assert location.files.cat_file(location.path(name)) == state.encode()
    checkpoint.unlink()
    mirror.push()
    assert name not in remote_names(location)
    storage.write_text(checkpoint, "another")
    mirror.push()
    assert name in remote_names(location)


def test_two_searches_in_one_place_are_refused_and_a_dead_one_is_replaced(url: str) -> None:
    location = location_of(url)
    with remote_folder(url), pytest.raises(StorageError, match=rf"worked on by {socket.gethostname()}, process"):
        lease.Lease(location).take()
    location.files.pipe_file(location.path(lease.LEASE), json.dumps({"host": "far", "time": time.time()}).encode())
    with pytest.raises(StorageError, match="worked on by far"), remote_folder(url):
        pass
    old = {"host": "far", "time": time.time() - 2 * lease.EXPIRES}
    location.files.pipe_file(location.path(lease.LEASE), json.dumps(old).encode())
    with remote_folder(url):
        pass
    dead = {"host": socket.gethostname(), "process": 2**22 + 1, "time": time.time()}
    location.files.pipe_file(location.path(lease.LEASE), json.dumps(dead).encode())
    with remote_folder(url):
        pass


def test_who_was_silent_for_too_long_stops_writing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location = location_of(url)
    location.files.makedirs(location.root, exist_ok=True)
    first, second = lease.Lease(location), lease.Lease(location)
    first.take()
    monkeypatch.setattr(lease, "EXPIRES", -1.0)
    second.take()
    monkeypatch.setattr(lease, "RENEW", 0.0)
    with pytest.raises(StorageError, match="was taken by another process"):
        first.renew()
    first.give_back()
    second.renew()


def test_the_status_of_a_sweep_is_seen_from_any_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process works there, and without a copy of what is large."""
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    from lth_deploy.workflow.sweep import status
    from tests.workflow.sweep.begun_sweep import begun as sweep_begun

    with pytest.raises(DataError, match=r"holds no sweep: it has no sweep\.json"):
        status.status_of_place(url)
    copied: list[str] = []
    monkeypatch.setattr(
        status, "copy_files", lambda *given: (copy_files(*given), copied.extend(map(str, given[2].rglob("*"))))[0]
    )
    sweep_begun(tmp_path / "written")
    for file in (tmp_path / "written").rglob("*.*"):
        write_file(inside(url, *file.relative_to(tmp_path / "written").parts), file.read_bytes())
    found = status.status_of_place(url)
    first, second, third = found.rows
    assert (found.folder, found.name) == (url, "mine")
    assert (first.state, first.host, first.step, first.steps) == ("running", socket.gethostname(), 40, 60)
    assert first.age is not None
    assert 0 <= first.age < SECONDS
    assert (second.state, third.state) == ("failed", "waiting")
    assert not [name for name in copied if name.endswith(".safetensors")]
    assert not (tmp_path / "here").exists()


def test_small_files_at_a_place(url: str, tmp_path: Path) -> None:
    for place in (url, str(tmp_path / "folder")):
        file = inside(place, "starts", "a.json")
        assert read_file(file) is None
        delete_file(file)
        for data in (b"one", b"another"):
            write_file(file, data)
            assert read_file(file) == data
        delete_file(file)
        assert read_file(file) is None


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_found_before_work_begins(
    url: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote_folder(url) as folder:
        begun(folder)
    location = location_of(url)
    file = location.path("trials/dense/weights.safetensors")
    if damage == "changed":
        location.files.pipe_file(file, b"something else")
    else:
        location.files.rm_file(file)
    elsewhere(monkeypatch, tmp_path, "other")
    with pytest.raises(DataError, match=rf"weights\.safetensors.*{damage}"), remote_folder(url):
        pass


def test_a_manifest_cannot_name_files_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / "here"))
    hostile: dict[str, Any] = {"schema": "lth-manifest/1", "files": {"../../x": {"sha256": "0"}}}
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "manifest.json").write_text(json.dumps(hostile))
    place = remote_folder(f"file://{tmp_path}/there")
    with pytest.raises(DataError, match=r"lists the file '\.\./\.\./x', which lies in no run"), place:
        pass


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("ftp://host/run", "a file in a place of kind 'ftp' may be seen half-written"),
        ("s3://", "names no folder"),
    ],
)
def test_places_that_cannot_hold_a_run(place: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        location_of(place)


def test_a_read_only_place_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_REMOTE_CACHE", str(tmp_path / "here"))
    (tmp_path / "file").touch()
    place = remote_folder(f"file://{tmp_path}/file/run")
    with pytest.raises(StorageError, match=r"refused: .*; check the address, the rights"), place:
        pass


def test_a_path_is_itself(tmp_path: Path) -> None:
    with working_folder(str(tmp_path / "run")) as folder:
        assert folder == tmp_path / "run"
    assert not list(tmp_path.iterdir())
