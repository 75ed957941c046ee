"""Ed25519 keys for signatures."""

from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography comes with the extra 'sign'")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


def keys(folder: Path, name: str = "key", password: bytes | None = None) -> tuple[Path, Path]:
    """Files with a new private key and its public one."""
    private = ed25519.Ed25519PrivateKey.generate()
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    encoding = serialization.Encoding.PEM
    pem.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, hidden))
    public.write_bytes(
        private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    return pem, public
