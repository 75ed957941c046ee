"""`verify`, `--verify` and `--sign` on the command line."""

import json
from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.workflow.export.commit import RECORD
from tests.cli.running import Cli
from tests.tiny_artifact import save_data, save_decoder, save_tiny


@pytest.fixture
def exported(cli: Cli, model_file: Path) -> Path:
    outcome = cli("export", "--onnx", model_file, "--sparsity", 0.8, "--no-profile")
    assert outcome.code == 0, outcome.err
    return model_file.parent / "net-export"


def test_an_export_is_verified_and_a_changed_one_refused(cli: Cli, exported: Path) -> None:
    sound = cli("verify", exported, "--json")
    assert sound.code == 0, sound.err
    found = json.loads(sound.out)
    assert found["files"].keys() == {"dense.onnx", "model.onnx"}
    assert (found["signed"], found["signature_checked"], found["not_checked"]) == (False, False, [])
    assert found["files"]["model.onnx"]["sha256"] == storage.sha256(exported / "model.onnx")
    (exported / "foreign.onnx").write_bytes((exported / "dense.onnx").read_bytes())
    assert "not checked: foreign.onnx" in cli("verify", exported).err
    quiet = cli("inspect", exported / "model.onnx", "--verify")
    assert quiet.code == 0
    assert "gates" not in quiet.err
    (exported / "model.onnx").write_bytes((exported / "dense.onnx").read_bytes())
    changed = cli("verify", exported)
    assert changed.code == 3
    assert "model.onnx: it has" in changed.err
    assert "dense.onnx: it" not in changed.err
    warned, refused = cli("inspect", exported / "model.onnx"), cli("inspect", exported / "model.onnx", "--verify")
    assert (warned.code, refused.code) == (0, 3)
    for outcome in (warned, refused):
        assert "is not the file that passed the gates of its export" in outcome.err


def test_another_dense_control_is_noticed(cli: Cli, exported: Path) -> None:
    """With digests that fit, as if somebody had exported a second model into the folder by hand."""
    (exported / "dense.onnx").write_bytes((exported / "model.onnx").read_bytes())
    record = json.loads((exported / RECORD).read_text())
    record["files"]["dense.onnx"] = record["files"]["model.onnx"]
    (exported / RECORD).write_text(json.dumps(record))
    outcome = cli("verify", exported)
    assert outcome.code == 3
    assert "model.onnx: it was exported with another dense control" in outcome.err


def test_verbs_that_run_a_model_warn_or_refuse(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    model, decoder = save_tiny(folder / "model.onnx", zeros=0.5), save_decoder(tmp_path)
    data, images = save_data(tmp_path / "data", images=1)
    common = ["--decoder", decoder]
    scored = ["--data", data, "--images", images, *common]
    verbs = {
        "evaluate": ["evaluate", model, *scored],
        "predict": ["predict", model, images / "1.png", "--out", tmp_path / "drawn", *common],
        "benchmark": ["benchmark", model, *scored, "--time", "0.02s", "--engine", "onnxruntime"],
    }
    entry = {"sha256": storage.sha256(model), "bytes": model.stat().st_size}
    for verb, arguments in verbs.items():
        (folder / RECORD).write_text(json.dumps({"files": {"model.onnx": {**entry, "sha256": 64 * "0"}}}))
        refused = cli(*arguments, "--verify")
        assert refused.code == 3, verb
        assert "is not the file that passed the gates" in refused.err, verb
    (folder / RECORD).write_text(json.dumps({"files": {"model.onnx": {**entry, "sha256": 64 * "0"}}}))
    warned = cli(*verbs["evaluate"])
    assert warned.code == 0
    assert "is not the file that passed the gates" in warned.err
    (folder / RECORD).write_text(json.dumps({"files": {"model.onnx": entry}}))
    for verb in ("evaluate", "predict"):
        sound = cli(*verbs[verb], "--verify")
        assert sound.code == 0, sound.err
        assert "gates" not in sound.err


def test_what_cannot_be_verified_says_why(cli: Cli, tmp_path: Path) -> None:
    assert cli("verify", tmp_path / "missing").code == 2
    outcome = cli("verify", tmp_path)
    assert outcome.code == 3
    assert "has no export.json: nothing says which files passed the gates" in outcome.err


def test_an_export_is_signed_and_the_key_is_read_before_the_work(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography comes with the extra 'sign'")
    from tests.workflow.verify.signing_keys import keys

    private, public = keys(tmp_path)
    wrong = cli("export", "--onnx", model_file, "--sign", public)
    assert wrong.code == 2
    assert "holds no private key" in wrong.err
    out = model_file.parent / "net-export"
    assert not out.exists()
    signed = cli("export", "--onnx", model_file, "--sparsity", 0.8, "--no-profile", "--sign", private)
    assert signed.code == 0, signed.err
    assert "the signature was not checked; give the public key" in cli("verify", out).err
    checked = cli("verify", out, "--key", public)
    assert checked.code == 0
    assert f"signed with the key that belongs to {public}" in checked.err
    assert cli("verify", out, "--key", keys(tmp_path, "other")[1]).code == 3
