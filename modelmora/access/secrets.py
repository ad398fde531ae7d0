"""The secrets that these settings name, as who signs with them and who checks."""

from __future__ import annotations

from modelmora.access.signing import Signer, Verifier, key_text
from modelmora.errors import ConfigurationError, Invalid
from modelmora.settings import Settings


def verifier_of(settings: Settings) -> Verifier:
    """Who checks what was signed. Raises ConfigurationError."""
    return Verifier([each.encode() for each in settings.access.cluster_secrets()])


def cluster_signer_of(settings: Settings) -> Signer | None:
    """Who signs as everybody; None where there is no secret. Raises ConfigurationError."""
    secrets = settings.access.cluster_secrets()
    return Signer(secrets[0].encode()) if secrets else None


def signer_of(settings: Settings) -> Signer | None:
    """Who signs: as everybody, as one principal, or None for nobody. Raises ConfigurationError."""
    if signer := cluster_signer_of(settings):
        return signer
    text = settings.access.own_signing_key()
    try:
        return None if text is None else Signer.of_key(text)
    except Invalid as error:
        raise ConfigurationError(f"access.signing_key: {error}") from None


def signing_key_of(settings: Settings, principal: str) -> str:
    """The key with which one principal signs. Raises ConfigurationError, Invalid."""
    secrets = settings.access.cluster_secrets()
    if not secrets:
        raise ConfigurationError(
            "keys to sign with are made of the cluster's secret, and there is none here; "
            "set access.cluster_secret_file"
        )
    return key_text(secrets[0].encode(), principal)
