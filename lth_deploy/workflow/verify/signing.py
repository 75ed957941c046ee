"""Detached Ed25519 signatures of an export's record, with keys of the user's in PEM files.

The record holds the SHA-256 of every file, so that its signature covers all of them. The signature is the 64 bytes that
`openssl pkeyutl -verify -rawin` takes. See docs/signing.md for what it promises.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.errors import ArtifactError, MissingExtraError, UsageError
from lth_deploy.workflow.export.folder import Signer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PASSWORD = "LTH_SIGN_PASSWORD"
"""Variable of the environment with the password of an encrypted private key."""

_MAKE = "make one with: openssl genpkey -algorithm ed25519 -out KEY.pem"
_PUBLISH = "make it with: openssl pkey -in KEY.pem -pubout -out PUB.pem"


def signer_of(key: Path) -> Signer:
    """What signs with the private key in a PEM file; its password, if any, is taken from LTH_SIGN_PASSWORD.

    Raises:
        UsageError: there is no such file, it holds no private Ed25519 key, or the password is missing or wrong.
        MissingExtraError: the package `cryptography` is not installed.
    """
    sign: Signer = _private(key).sign
    return sign


def check_signature(data: bytes, signature: bytes, key: Path, what: Path) -> None:
    """Check that the owner of the public key in the PEM file `key` has signed `data`, which is the content of `what`.

    Raises:
        ArtifactError: somebody else has, or `data` was changed.
        UsageError: there is no such file, or it holds no public Ed25519 key.
        MissingExtraError: the package `cryptography` is not installed.
    """
    public = _public(key)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, data)
    except InvalidSignature as error:
        raise ArtifactError(
            f"the signature of {what} is not one of the key {key}: the record was changed, or somebody else has signed "
            "it; do not use these files"
        ) from error


def _private(key: Path) -> "Ed25519PrivateKey":
    data, serialization = _read(key), _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    password = os.environ.get(PASSWORD)
    if password is None and b"ENCRYPTED" in data:
        raise UsageError(f"the key {key} is encrypted; give its password in the variable {PASSWORD}")
    try:
        # A password is refused for keys that are not encrypted.
        found = serialization.load_pem_private_key(
            data, password.encode() if password is not None and b"ENCRYPTED" in data else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{key} holds no private key that can be read ({error}); {_MAKE}") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(f"{key} holds a key of another kind than Ed25519; {_MAKE}")
    return found


def _public(key: Path) -> "Ed25519PublicKey":
    data, serialization = _read(key), _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if b"PRIVATE KEY" in data:
        raise UsageError(f"{key} holds a private key, which only signing needs; give the public one, {_PUBLISH}")
    try:
        found = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{key} holds no public key that can be read ({error}); {_PUBLISH}") from error
    if not isinstance(found, Ed25519PublicKey):
        raise UsageError(f"{key} holds a key of another kind than Ed25519; {_MAKE}")
    return found


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the key {key}: {error.strerror}; give a PEM file") from error


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtraError("cryptography", "sign", "signing exports and checking signatures") from error
    return serialization
