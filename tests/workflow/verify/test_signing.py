"""Signatures of exports: only the owner of the key can make them, and they cover every byte that the record names."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography comes with the extra 'sign'")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lth_deploy.errors import ArtifactError, MissingExtraError, UsageError
from lth_deploy.workflow.export.commit import RECORD, SIGNATURE
from lth_deploy.workflow.export.folder import export_folder
from lth_deploy.workflow.verify.signing import PASSWORD, Signer, check_signature, signer_of
from lth_deploy.workflow.verify.verify import verify
from tests.workflow.verify.signing_keys import keys


def export(out: Path, sign: Signer | None, content: str = "weights") -> None:
    with export_folder(out) as folder:
        (folder.staged / "model.bin").write_text(content)
        folder.commit([folder.staged / "model.bin"], {}, sign)


def test_a_signed_export_is_checked_with_the_public_key(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    export(tmp_path / "out", signer_of(private))
    found = verify(tmp_path / "out", key=public)
    assert (found.signed, found.signed_by) == (True, public)
    assert verify(tmp_path / "out").signed_by is None


def test_an_attacker_who_makes_digests_fit_is_found(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    theirs, _ = keys(tmp_path, "theirs")
    out = tmp_path / "out"
    export(out, signer_of(private))
    signature = (out / SIGNATURE).read_bytes()
    export(out, None, "other weights")
    verify(out)
    with pytest.raises(ArtifactError, match=r"is not signed: it has no export\.json\.sig"):
        verify(out, key=public)
    (out / SIGNATURE).write_bytes(signature)
    with pytest.raises(ArtifactError, match="the record was changed, or somebody else has signed it"):
        verify(out, key=public)
    export(out, signer_of(theirs), "other weights")
    with pytest.raises(ArtifactError, match="somebody else has signed it"):
        verify(out, key=public)


@pytest.mark.parametrize("file", ["model.bin", RECORD, SIGNATURE])
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, file: str) -> None:
    private, public = keys(tmp_path)
    export(tmp_path / "out", signer_of(private))
    path = tmp_path / "out" / file
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), max(1, len(data) // 16)):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArtifactError):
            verify(tmp_path / "out", key=public)
    path.write_bytes(data)
    verify(tmp_path / "out", key=public)


@pytest.mark.parametrize("length", [0, 63, 65, 10_000])
def test_a_signature_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    private, public = keys(tmp_path)
    export(tmp_path / "out", signer_of(private))
    (tmp_path / "out" / SIGNATURE).write_bytes(b"s" * length)
    with pytest.raises(ArtifactError, match="somebody else has signed it"):
        verify(tmp_path / "out", key=public)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_checks_the_signature_too(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    export(tmp_path / "out", signer_of(private))
    out = tmp_path / "out"
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", out / RECORD]
    command += ["-sigfile", out / SIGNATURE]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (out / RECORD).write_bytes((out / RECORD).read_bytes() + b" ")
    assert subprocess.run(command, check=False, capture_output=True, timeout=300).returncode != 0


def test_an_encrypted_key_takes_its_password_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys(tmp_path, password=b"secret")
    with pytest.raises(UsageError, match=f"is encrypted; give its password in the variable {PASSWORD}"):
        signer_of(private)
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(UsageError, match="holds no private key that can be read"):
        signer_of(private)
    monkeypatch.setenv(PASSWORD, "secret")
    check_signature(b"data", signer_of(private)(b"data"), public, tmp_path)
    plain, _ = keys(tmp_path, "plain")
    signer_of(plain)


def test_a_file_that_is_no_such_key_is_refused_by_name(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    other = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM
    (tmp_path / "ec.pem").write_bytes(
        other.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "ec.pub.pem").write_bytes(
        other.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "rubbish.pem").write_bytes(b"rubbish")
    for file, words in [
        (public, "holds no private key"),
        (tmp_path / "ec.pem", "another kind than Ed25519"),
        (tmp_path / "rubbish.pem", "holds no private key"),
        (tmp_path / "missing.pem", "cannot read the key"),
    ]:
        with pytest.raises(UsageError, match=words):
            signer_of(file)
    for file, words in [
        (private, "holds a private key, which only signing needs"),
        (tmp_path / "ec.pub.pem", "another kind than Ed25519"),
        (tmp_path / "rubbish.pem", "holds no public key"),
        (tmp_path / "missing.pem", "cannot read the key"),
    ]:
        with pytest.raises(UsageError, match=words):
            check_signature(b"", b"", file, tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = keys(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingExtraError, match=r"lth-deploy\[sign\]"):
        signer_of(private)
