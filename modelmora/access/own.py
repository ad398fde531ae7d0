"""What our own commands show of themselves, and which doors they trust."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from modelmora.access.pem import content_of, first_of, load_pair, trust
from modelmora.errors import ConfigurationError
from modelmora.settings import Settings, TlsSettings


@dataclass(frozen=True, slots=True)
class Own:
    """How our commands speak TLS to a door; `authorities` None: those of the system.

    `pinned`: the door is that of an instance of this machine, whose certificate is read from its
    file. It alone is trusted then, whatever names it has: none need be one of this machine.
    """

    authorities: bytes | None = None
    pair: tuple[Path, Path] | None = None
    pinned: bool = False

    def context(self) -> ssl.SSLContext:
        """For HTTP. Raises ConfigurationError."""
        if self.authorities:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            trust(context, "tls.own_cafile", self.authorities)
        else:
            context = ssl.create_default_context()
        if self.pinned:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.pair:
            load_pair(context, "tls.own_certfile", *self.pair)
        return context

    def contents(self) -> tuple[bytes, bytes] | None:
        """The certificate that we show, and its key. Raises ConfigurationError."""
        if self.pair is None:
            return None
        certfile, keyfile = self.pair
        return content_of("tls.own_certfile", certfile), content_of("tls.own_keyfile", keyfile)

    def name(self) -> str | None:
        """A name that a pinned certificate has, for who cannot do without one."""
        if not self.pinned or self.authorities is None:
            return None
        from cryptography import x509

        try:
            kind = x509.SubjectAlternativeName
            names = first_of(self.authorities).extensions.get_extension_for_class(kind).value
        except (x509.ExtensionNotFound, ValueError):
            return None
        found = [
            *names.get_values_for_type(x509.DNSName),
            *map(str, names.get_values_for_type(x509.IPAddress)),
        ]
        return found[0].replace("*", "any", 1) if found else None


def own_of(settings: Settings, *, here: bool) -> Own:
    """How to reach a door `here`, or elsewhere. Raises ConfigurationError."""
    tls = settings.tls
    pair = _pair(tls)
    if here and tls.certfile:
        from cryptography.hazmat.primitives.serialization import Encoding

        chain = content_of("tls.certfile", tls.certfile)
        try:
            leaf = first_of(chain).public_bytes(Encoding.PEM)
        except ValueError:
            raise ConfigurationError(f"tls.certfile {tls.certfile} holds no certificate") from None
        return Own(leaf, pair, pinned=True)
    own = tls.own_cafile
    return Own(content_of("tls.own_cafile", own) if own else None, pair)


def _pair(tls: TlsSettings) -> tuple[Path, Path] | None:
    if tls.own_certfile and tls.own_keyfile:
        return tls.own_certfile, tls.own_keyfile
    if tls.own_certfile or tls.own_keyfile:
        raise ConfigurationError("tls.own_certfile and tls.own_keyfile need each other")
    return None
