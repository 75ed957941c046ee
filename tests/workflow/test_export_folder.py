"""An export is one step: whole or not there, one process at a time, and with digests that every reader checks."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.compiler.save import save_model
from lth_deploy.errors import ArtifactError, StorageError
from lth_deploy.workflow.export_folder import export_folder
from lth_deploy.workflow.export_record import RECORD, SIGNATURE, check_exported
from lth_deploy.workflow.verify import verify
from tests.compiler.onnx_models import detector

KILLS = int(os.environ.get("LTH_TEST_KILLS", "3"))


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


KILLED_AT_RENAME = """
    import os, signal, sys
    from pathlib import Path
    from lth_deploy.workflow.export_folder import export_folder

    out, left = Path(sys.argv[1]), int(sys.argv[2])
    replace = Path.replace

    def dying(self, target):
        global left
        if target.parent == out:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    with export_folder(out) as folder:
        for name in ("model.bin", "dense.bin"):
            (folder.staged / name).write_text("new " + name)
        Path.replace = dying
        folder.commit([folder.staged / "dense.bin", folder.staged / "model.bin"], {}, lambda data: b"s" * 64)
"""


@pytest.mark.parametrize("renames", range(4))
def test_a_kill_between_two_renames_is_noticed_by_every_reader(
    tmp_path: Path, renames: int, caplog: pytest.LogCaptureFixture
) -> None:
    export(tmp_path, model="old model.bin", dense="old dense.bin")
    command = [sys.executable, "-c", textwrap.dedent(KILLED_AT_RENAME), str(tmp_path), str(renames)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    now = {name: (tmp_path / f"{name}.bin").read_text().split()[0] for name in ("model", "dense")}
    assert now == {"dense": "new" if renames > 0 else "old", "model": "new" if renames > 1 else "old"}
    if renames == 0:
        verify(tmp_path)
    else:
        with pytest.raises(ArtifactError, match=r"an export was interrupted: export again\n  dense\.bin: it has 13"):
            verify(tmp_path)
        check_exported(tmp_path / "dense.bin")
        assert "dense.bin is not the file that passed the gates of its export" in caplog.text
        with pytest.raises(ArtifactError, match="an export was interrupted"):
            check_exported(tmp_path / "dense.bin", verify=True)
    export(tmp_path, model="newest", dense="newest")
    verify(tmp_path)
    assert not hidden(tmp_path)
    assert not (tmp_path / SIGNATURE).exists(), "an export without a key leaves no signature of another record"


REAL = """
    import sys
    from pathlib import Path
    from lth_deploy.compiler import noise
    from lth_deploy.workflow.export_onnx import OnnxJob, export_onnx

    noise.SIDE = 24
    print("begins", flush=True)
    export_onnx(Path(sys.argv[1]), OnnxJob(sparsity=float(sys.argv[2])), out=Path(sys.argv[3]))
"""


def test_kills_at_random_moments_leave_no_mixed_export_and_no_litter(tmp_path: Path) -> None:
    """Three kills; LTH_TEST_KILLS=20 asks for more."""
    model, out, scratch = tmp_path / "net.onnx", tmp_path / "out", tmp_path / "tmp"
    scratch.mkdir()
    save_model(detector(0.0, opset=13, width=64), model)

    def start(sparsity: float) -> "subprocess.Popen[str]":
        code = textwrap.dedent(REAL)
        command = [sys.executable, "-c", code, str(model), str(sparsity), str(out)]
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        return process

    began = time.monotonic()
    with start(0.5) as first:
        assert first.wait(120) == 0
    seconds = time.monotonic() - began
    before = verify(out).files
    rng = random.Random(KILLS)
    for kill in range(KILLS):
        with start(0.6 + 0.3 * kill / KILLS) as process:
            time.sleep(rng.uniform(0.0, seconds))
            process.kill()
        verify(out)
    with start(0.95) as last:
        assert last.wait(120) == 0
    assert verify(out).files["model.onnx"] != before["model.onnx"]
    assert not hidden(out)
    # ONNX Runtime keeps a file of its own there; a child of a killed export ends with the work that it has begun.
    end = time.monotonic() + 60
    while (left := list(scratch.glob("lth-*"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


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
    monkeypatch.setattr("lth_deploy.workflow.export_record.LARGEST", 10)
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
