"""Certificate authorities for tests, and the certificates that they issue."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = timedelta(hours=1)
SERVER, CLIENT = (ExtendedKeyUsageOID.SERVER_AUTH,), (ExtendedKeyUsageOID.CLIENT_AUTH,)
"""What a certificate may be shown as."""
THIS_MACHINE = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM, and the files in which they lie."""

    certificate: bytes
    key: bytes
    certfile: Path
    keyfile: Path


class Authority:
    """Issues certificates into a folder; elliptic, for they are made in a millisecond."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key(), 24 * HOUR)
        own = builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        self.pem = own.public_bytes(serialization.Encoding.PEM)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.pem)

    def issue(
        self,
        file: str,
        names: tuple[x509.GeneralName, ...] = (),
        lives: timedelta = 24 * HOUR,
        *,
        purposes: tuple[x509.ObjectIdentifier, ...] = SERVER,
        subject: str = "nobody",
    ) -> Pair:
        """A certificate with these alternative names, into `file`.pem and `file`.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = self._builder(name, key.public_key(), lives)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        pair = Pair(
            made.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            self._folder / f"{file}.pem",
            self._folder / f"{file}.key",
        )
        pair.certfile.write_bytes(pair.certificate)
        pair.keyfile.write_bytes(pair.key)
        return pair

    def server(self, file: str = "server") -> Pair:
        """A certificate of this machine."""
        return self.issue(file, THIS_MACHINE)

    def peer(self, subject: str, lives: timedelta = 24 * HOUR) -> Pair:
        """One for both sides, known by its subject as Kafka knows who connects."""
        return self.issue(subject, THIS_MACHINE, lives, purposes=SERVER + CLIENT, subject=subject)

    def client(self, name: str, lives: timedelta = 24 * HOUR) -> Pair:
        """A certificate of this principal, as a URI where it looks like one, else a DNS name."""
        kind = x509.UniformResourceIdentifier if "://" in name else x509.DNSName
        file = name.rpartition("/")[2]
        return self.issue(file, (kind(name),), lives, purposes=CLIENT)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lives: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 48 * HOUR)
            .not_valid_after(now + lives)
        )
