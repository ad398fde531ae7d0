"""Whose a certificate is: its subject alternative name, as a principal; reads nothing."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509

from modelmora.access.principals import principal_named
from modelmora.errors import Invalid

KNOWN = 1024
"""Certificates of which it is kept whose they are."""
KINDS = (x509.UniformResourceIdentifier, x509.RFC822Name, x509.DNSName)
"""What names a holder: the first URI (as SPIFFE has it), else the first address, else name."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a certificate is, until when (Unix ms)."""

    principal: str
    expires_at: int


@lru_cache(KNOWN)
def holder_of(certificate: bytes) -> Holder:
    """Whose this certificate is (DER, or PEM), which somebody has verified. Raises Invalid."""
    try:
        der = certificate
        if certificate.startswith(b"-----"):
            der = ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
        read = x509.load_der_x509_certificate(der)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [name for kind in KINDS for name in names.get_values_for_type(kind)]
    except x509.ExtensionNotFound:
        found = []
    except ValueError:
        raise Invalid("the client certificate cannot be read; ask for a new one") from None
    if not found:
        raise Invalid(
            "the client certificate has no subject alternative name (URI, e-mail or DNS), so it "
            "is nobody's; ask for a new one"
        )
    who = principal_named(str(found[0]), "the name in the client certificate")
    return Holder(who, int(read.not_valid_after_utc.timestamp() * 1000))
