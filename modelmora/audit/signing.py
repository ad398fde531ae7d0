"""The key with which this machine signs what it tells, in a file that its owner alone reads."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from modelmora.errors import ConfigurationError
from modelmora.settings import Settings

log = structlog.get_logger(__name__)


class Signer:
    """Signs by Ed25519; `public_key` is by what that is known, 32 bytes."""

    def __init__(self, key: Ed25519PrivateKey | None = None) -> None:
        """Without a key with one of its own, that nobody else ever has."""
        self._key = key or Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(data)


def is_signed(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the owner of that key has signed this."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_path(settings: Settings) -> Path:
    """Where these settings have the key."""
    return settings.audit.key_file or settings.data_dir / "audit.key"


def signer_of(settings: Settings) -> Signer:
    """Who signs for these settings; its file is made where it is that of the data folder.

    Raises ConfigurationError where a file is named that holds no such key.
    """
    named, path = settings.audit.key_file, key_path(settings)
    try:
        if not named:
            _make(path)
        return Signer(_read(path))
    except OSError as error:
        why = f"{path} cannot be {'read' if named else 'made or read'}: {error.strerror}"
        if named:
            raise ConfigurationError(f"audit.key_file {why}") from None
        log.warning("the audit is signed with a key of this process alone", reason=why)
        return Signer()


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} holds no Ed25519 key (PEM, without a password); make one with "
            "`openssl genpkey -algorithm ed25519`"
        )
    return key


def _make(path: Path) -> None:
    """Write a new key where there is none; of several that do so at once one is first."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    # Readable for its owner alone from the beginning.
    descriptor, aside = mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        Path(aside).unlink()
