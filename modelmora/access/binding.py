"""Whether callers must say who they are, and what a gateway needs to listen; reads nothing."""

from __future__ import annotations

from modelmora.addresses import is_local
from modelmora.errors import ConfigurationError
from modelmora.settings import Settings

FLAG = "--insecure-bind"


def asks_who(settings: Settings) -> bool:
    """Whether callers must show a key, a token or a certificate."""
    if settings.access.callers == "auto":
        named = settings.oidc.issuer or settings.tls.client_cafile
        return bool(named) or not is_local(settings.host)
    return settings.access.callers == "keys"


def other_ways(settings: Settings) -> bool:
    """Whether callers can show who they are without an API key."""
    return bool(settings.oidc.issuer or settings.tls.client_cafile)


def check_binding(settings: Settings) -> None:
    """What a gateway with these settings may do. Raises ConfigurationError.

    1. Half of a pair of settings is a slip, and is told as one.
    2. Whoever lets anybody in takes no tokens and asks for no certificates.
    3. Beyond this machine a gateway asks who calls, and encrypts, unless that is waived by name.
    """
    tls, oidc = settings.tls, settings.oidc
    _both("tls.certfile", tls.certfile, "tls.keyfile", tls.keyfile)
    _both("oidc.issuer", oidc.issuer, "oidc.audience", oidc.audience)
    if tls.client_cafile and not tls.certfile:
        raise ConfigurationError("tls.client_cafile needs tls.certfile and tls.keyfile too")
    if other_ways(settings) and not asks_who(settings):
        raise ConfigurationError(
            "access.callers: anyone lets everybody in; take it away, or oidc.issuer and "
            "tls.client_cafile"
        )
    if is_local(settings.host) or settings.insecure_bind:
        return
    if not asks_who(settings):
        raise ConfigurationError(
            f"access.callers: anyone opens {settings.host} to whoever reaches it; where a proxy "
            f"or the network keeps others out, say so with {FLAG} (MODELMORA_INSECURE_BIND=true)"
        )
    if not tls.certfile:
        raise ConfigurationError(
            f"on {settings.host} others can listen: give a certificate (tls.certfile and "
            f"tls.keyfile), or, where a proxy or the network encrypts, pass {FLAG} "
            "(MODELMORA_INSECURE_BIND=true)"
        )


def _both(name: str, given: object, other: str, too: object) -> None:
    if given and not too:
        raise ConfigurationError(f"{name} needs {other} too")
    if too and not given:
        raise ConfigurationError(f"{other} needs {name} too")
