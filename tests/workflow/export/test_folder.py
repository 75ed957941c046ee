"""An export is one step: whole or not there, one process at a time, and with digests that every reader checks."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.compiler.model.save import save_model
from lth_deploy.errors import ArtifactError, StorageError
from lth_deploy.workflow.export.commit import COMMITTED, RECORD, SIGNATURE, finish_interrupted
from lth_deploy.workflow.export.folder import export_folder
from lth_deploy.workflow.verify.export_record import check_exported
from lth_deploy.workflow.verify.verify import verify
from tests.compiler.onnx_models import detector
from tests.waiting import exit_code_of_fork, killed_at_the_end, next_line, wait_until

KILLS = int(os.environ.get("LTH_TEST_KILLS", "2"))


def export(out: Path, **files: str) -> None:
    with export_folder(out) as folder:
        for name, content in files.items():
            (folder.staged / f"{name}.bin").write_text(content)
        folder.commit([folder.staged / f"{name}.bin" for name in files], {"what": "test"})


def _refused(out: Path) -> None:
    with export_folder(out) as folder:
        (folder.staged / "model.bin").write_text("b")
        raise ArtifactError("the gate")


def hidden(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.rglob(".*") if entry.name != storage.LOCK)


def test_files_come_with_their_digests_and_nothing_else_stays(tmp_path: Path) -> None:
    export(tmp_path / "out", model="a", dense="b")
    found = verify(tmp_path / "out")
    assert list(found.files) == ["dense.bin", "model.bin"]
    assert found.files["model.bin"].sha256 == storage.sha256(tmp_path / "out" / "model.bin")
    document = json.loads((tmp_path / "out" / RECORD).read_text())
    assert (document["schema"], document["what"]) == ("lth-export/1", "test")
    assert not hidden(tmp_path / "out")


def test_an_export_that_fails_leaves_no_folder_and_an_older_export_as_it_was(tmp_path: Path) -> None:
    for out in (tmp_path / "new", tmp_path / "old"):
        if out.name == "old":
            export(out, model="a")
        with pytest.raises(ArtifactError, match="the gate"):
            _refused(out)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="the gate"):
        _refused(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == [], "the user's own folder stays, as empty as it was"
    assert (tmp_path / "old" / "model.bin").read_text() == "a"
    verify(tmp_path / "old")
    assert not hidden(tmp_path)


def test_a_second_export_into_the_folder_is_refused(tmp_path: Path) -> None:
    with export_folder(tmp_path), pytest.raises(StorageError, match="another process"), export_folder(tmp_path):
        pytest.fail("two exports hold one folder")


def test_the_record_keeps_what_other_formats_were_exported_before(tmp_path: Path) -> None:
    export(tmp_path, model="a", dense="b")
    export(tmp_path, coo="c", dense="b")
    assert list(verify(tmp_path).files) == ["coo.bin", "dense.bin", "model.bin"]
    (tmp_path / "model.bin").write_text("changed")
    export(tmp_path, coo="d", dense="b")
    assert list(verify(tmp_path).files) == ["coo.bin", "dense.bin"], "a changed file is not vouched for anew"


@pytest.mark.parametrize("record", ["{", "[]", '{"files": {"../x": {"sha256": "' + 64 * "0" + '", "bytes": 1}}}'])
def test_a_damaged_record_is_written_anew(tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD).write_text(record)
    export(tmp_path, model="a")
    assert list(verify(tmp_path).files) == ["model.bin"]


def test_what_killed_exports_left_is_deleted_and_the_users_files_stay(tmp_path: Path) -> None:
    for name in (".export-ab12_xyz", ".model.onnx.tmp-4711"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "large.bin").touch()
    (tmp_path / ".export-mine").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / ".export-link1234").symlink_to(tmp_path / "photos")
    export(tmp_path, model="a")
    assert hidden(tmp_path) == [".export-link1234", ".export-mine"]
    assert (tmp_path / "photos").is_dir()


def _export_killed_at(out: Path, renames: int, signed: bool) -> bool:
    """Export in a fork of this process that is killed at its rename number `renames`; whether it got to the end."""
    child = os.fork()
    if child == 0:
        try:
            _export_and_die(out, renames, signed)
            os._exit(0)
        except BaseException:  # whatever is raised must not run the tests of this process a second time
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    status = exit_code_of_fork(child)
    assert status in (0, -signal.SIGKILL)
    return status == 0


def _export_and_die(out: Path, renames: int, signed: bool) -> None:
    left = renames

    def dying(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return move(self, target)

        return moved

    with export_folder(out) as folder:
        staged = [folder.staged / name for name in ("model.bin", "dense.bin")]
        for file in staged:
            file.write_text(f"new {file.name}")
        Path.rename, Path.replace = dying(Path.rename), dying(Path.replace)  # type: ignore[method-assign]
        folder.commit(staged, {}, (lambda data: b"s" * 64) if signed else None)


READERS = {
    "verify": verify,
    "check_exported": lambda out: check_exported(out / "model.bin", verify=True),
    "export": lambda out: export(out, other="of another format"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("signed", [True, False])
def test_a_kill_at_any_rename_leaves_the_old_export_or_the_new_one(tmp_path: Path, signed: bool, reader: str) -> None:
    seen = set()
    for renames in range(30):
        out = tmp_path / str(renames)
        export(out, model="old model.bin", dense="old dense.bin")
        (out / SIGNATURE).write_bytes(b"o" * 64)
        ended = _export_killed_at(out, renames, signed)
        READERS[reader](out)
        verify(out)
        ages = {(out / f"{name}.bin").read_text().split()[0] for name in ("model", "dense")}
        assert len(ages) == 1, f"after {renames} renames"
        if reader != "export":
            # A signature belongs to the record beside it: the old one to the old, the new one to the new.
            signature = (out / SIGNATURE).read_bytes()[:1] if (out / SIGNATURE).exists() else b""
            assert signature == (b"o" if ages == {"old"} else b"s" if signed else b"")
        seen |= ages
        assert not (out / COMMITTED).exists()
        if ended:
            break
    assert ended
    assert seen == {"old", "new"}


def test_a_committed_export_that_cannot_be_finished_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export(tmp_path, model="old")
    (tmp_path / COMMITTED).mkdir()
    (tmp_path / COMMITTED / "model.bin").write_text("new")
    with storage.locked(tmp_path):
        finish_interrupted(tmp_path)
    assert "its last step could not be done: another process is working on" in caplog.text
    assert (tmp_path / "model.bin").read_text() == "old"


REAL = """
    import sys
    from pathlib import Path
    from lth_deploy.compiler.model import input_sizes
    from lth_deploy.workflow.export.from_onnx import export_onnx
    from lth_deploy.workflow.export.onnx_job import OnnxJob

    input_sizes.SIDE = 24
    print("begins", flush=True)
    export_onnx(Path(sys.argv[1]), OnnxJob(sparsity=float(sys.argv[2])), out=Path(sys.argv[3]))
"""


def test_kills_at_random_moments_leave_no_mixed_export_and_no_litter(tmp_path: Path) -> None:
    """Two kills; LTH_TEST_KILLS=20 asks for more."""
    model, out, scratch = tmp_path / "net.onnx", tmp_path / "out", tmp_path / "tmp"
    scratch.mkdir()
    save_model(detector(0.0, opset=13, width=64), model)

    def start(sparsity: float) -> "subprocess.Popen[str]":
        code = textwrap.dedent(REAL)
        command = [sys.executable, "-c", code, str(model), str(sparsity), str(out)]
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert next_line(process) == "begins"
        return process

    began = time.monotonic()
    with killed_at_the_end(start(0.5)) as first:
        assert first.wait(180) == 0
    seconds = time.monotonic() - began
    before = verify(out).files
    rng = random.Random(KILLS)
    for kill in range(KILLS):
        with killed_at_the_end(start(0.6 + 0.3 * kill / KILLS)):
            time.sleep(rng.uniform(0.0, seconds))
        verify(out)
    with killed_at_the_end(start(0.95)) as last:
        assert last.wait(180) == 0
    assert verify(out).files["model.onnx"] != before["model.onnx"]
    assert not hidden(out)
    # ONNX Runtime keeps a file of its own there; a child of a killed export ends with the work that it has begun.
    wait_until(lambda: not list(scratch.glob("lth-*")), "the end of all temporary folders")


def test_a_reader_warns_or_refuses_only_where_a_record_says_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = tmp_path / "alone.bin"
    alone.write_text("a")
    check_exported(alone)
    with pytest.raises(ArtifactError, match=r"cannot be verified: there is no export\.json beside it"):
        check_exported(alone, verify=True)
    out = tmp_path / "out"
    export(out, model="a")
    check_exported(out / "model.bin", verify=True)
    (out / "other.bin").write_text("b")
    check_exported(out / "other.bin")
    with pytest.raises(ArtifactError, match=r"does not name it"):
        check_exported(out / "other.bin", verify=True)
    assert not caplog.records
    (out / "model.bin").write_text("b")
    check_exported(out / "model.bin")
    assert "it has 1 bytes and the SHA-256" in caplog.text
    with pytest.raises(ArtifactError, match="is not the file that passed the gates"):
        check_exported(out / "model.bin", verify=True)
    (out / RECORD).write_text('{"trial": "level_80"}')
    caplog.clear()
    check_exported(out / "model.bin")
    assert not caplog.records, "records of earlier versions have no digests"
    with pytest.raises(ArtifactError, match="an earlier version wrote it"):
        check_exported(out / "model.bin", verify=True)


@pytest.mark.parametrize(
    "files",
    [
        {"../x": {"sha256": 64 * "0", "bytes": 1}},
        {"a/b": {"sha256": 64 * "0", "bytes": 1}},
        {"": {"sha256": 64 * "0", "bytes": 1}},
        {"model.bin": {"sha256": "0", "bytes": 1}},
        {"model.bin": {"sha256": 64 * "0", "bytes": -1}},
        {"model.bin": None},
        [],
        5,
    ],
)
def test_a_hostile_record_is_one_error(tmp_path: Path, files: object) -> None:
    (tmp_path / "model.bin").write_text("a")
    (tmp_path / RECORD).write_text(json.dumps({"files": files}))
    with pytest.raises(ArtifactError):
        verify(tmp_path)
    with pytest.raises(ArtifactError):
        check_exported(tmp_path / "model.bin", verify=True)
    check_exported(tmp_path / "model.bin")


def test_a_record_that_is_nested_deep_or_large_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RECORD).write_text("[" * 100_000)
    with pytest.raises(ArtifactError):
        verify(tmp_path)
    monkeypatch.setattr("lth_deploy.workflow.verify.export_record.LARGEST", 10)
    (tmp_path / RECORD).write_text(" " * 11)
    with pytest.raises(ArtifactError, match="has 11 bytes, a record has 10 at most"):
        verify(tmp_path)


def test_a_link_in_an_export_is_no_file_of_it(tmp_path: Path) -> None:
    export(tmp_path / "out", model="a")
    (tmp_path / "elsewhere").write_text("a")
    (tmp_path / "out" / "model.bin").unlink()
    with pytest.raises(ArtifactError, match=r"model\.bin: it is missing"):
        verify(tmp_path / "out")
    (tmp_path / "out" / "model.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"model\.bin: it is a symbolic link"):
        verify(tmp_path / "out")
