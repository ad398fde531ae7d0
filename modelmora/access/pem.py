"""Certificates and keys in files (PEM), as a context of TLS takes them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from modelmora.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509


def content_of(setting: str, path: Path) -> bytes:
    """What stands in a file. Raises ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting} {path} cannot be read: {error.strerror}") from None


def load_pair(context: ssl.SSLContext, setting: str, certfile: Path, keyfile: Path) -> None:
    """Have a context show this certificate. Raises ConfigurationError."""
    try:
        # Without a password to give OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certfile, keyfile, password="")
    except OSError as error:  # those of ssl among them
        raise ConfigurationError(
            f"{setting} {certfile} and its key {keyfile} cannot be used ({_why(error)}); both must "
            "be PEM, belong together, and the key not be encrypted"
        ) from None


def trust(context: ssl.SSLContext, setting: str, authorities: bytes) -> None:
    """Have a context trust these, beside those that it does. Raises ConfigurationError."""
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{setting} holds no certificates in PEM ({_why(error)})"
        ) from None


def first_of(chain: bytes) -> x509.Certificate:
    """The first certificate of a file: whose it is. Raises ValueError."""
    from cryptography import x509  # seldom needed, and slow to import

    return x509.load_pem_x509_certificates(chain)[0]


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or "no PEM")
