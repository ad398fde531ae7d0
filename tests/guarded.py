"""A broker that knows its callers, by password or certificate, and allows what was granted."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from modelmora.broker import EmbeddedBroker, embedded
from modelmora.broker.config import java_options, server_properties
from modelmora.kafka.acls import Grant, Operation, Resource
from modelmora.settings import Settings
from tests.authorities import Authority, Pair

PASSWORD = "correct horse"
PLAIN_USER = "plainly"
JAAS = "org.apache.kafka.common.security"
KINDS = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
    Resource.CLUSTER: ResourceType.BROKER,
}
_ALLOWED = re.compile(
    r"is Allowed .*MatchingAcl\(acl=StandardAcl\(resourceType=(\w+), resourceName=(.*?), "
    r"patternType=(\w+), principal=User:(.*?), host=\*, operation=(\w+),"
)
_DENIED = re.compile(
    r"Principal = User:(\S+) is Denied operation = (\w+) from .* on resource = (\S+) for request"
)


@dataclass(slots=True)
class Guarded:
    """The broker's addresses for each kind of caller; to `inside` everybody is allowed all."""

    admin: AdminClient
    inside: str
    sasl: str
    tls: str
    authority: Authority
    used: set[tuple[str, Grant]] = field(default_factory=set)
    """Who has used which grant."""
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    """Who was denied which operation on what."""

    def know(
        self,
        *users: str,
        mechanism: ScramMechanism = ScramMechanism.SCRAM_SHA_512,
        password: str = PASSWORD,
    ) -> None:
        """Let these in by a password."""
        info = ScramCredentialInfo(mechanism, 4096)
        changes = [UserScramCredentialUpsertion(user, info, password.encode()) for user in users]
        for done in self.admin.alter_user_scram_credentials(changes).values():
            done.result(30)

    def forget(self, user: str, mechanism: ScramMechanism) -> None:
        """Let this one in by that password no more."""
        change = UserScramCredentialDeletion(user, mechanism)
        for done in self.admin.alter_user_scram_credentials([change]).values():
            done.result(30)

    def grant(self, user: str, grants: Iterable[Grant]) -> None:
        """Allow a user these."""
        bindings = [_binding(user, each) for each in grants]
        for done in self.admin.create_acls(bindings).values() if bindings else ():
            done.result(30)

    def revoke(self, user: str, grant: Grant) -> None:
        """Take one back."""
        wanted = _binding(user, grant)
        named = (wanted.restype, wanted.name, wanted.resource_pattern_type, wanted.principal)
        asked = AclBindingFilter(*named, wanted.host, wanted.operation, wanted.permission_type)
        for done in self.admin.delete_acls([asked]).values():
            assert len(done.result(30)) == 1, f"{user} had no {grant}"

    def settings(self, user: str, namespace: str, **more: Any) -> Settings:
        """Settings of a user that comes by password."""
        return Settings.model_validate(
            {"bootstrap_servers": self.sasl, "namespace": namespace, "kafka": _kafka(user)} | more
        )

    def environment(self, user: str) -> dict[str, object]:
        """The same for a process, without the prefix of its variables."""
        named = {f"KAFKA__{name.upper()}": value for name, value in _kafka(user).items()}
        return {"BOOTSTRAP_SERVERS": self.sasl, **named}

    def certified(self, namespace: str, pair: Pair | None, **more: Any) -> Settings:
        """Settings of one who comes by certificate."""
        kafka: dict[str, Any] = {"security_protocol": "SSL", "ssl_cafile": self.authority.file}
        if pair:
            kafka |= {"ssl_certfile": pair.certfile, "ssl_keyfile": pair.keyfile}
        named = {"bootstrap_servers": self.tls, "namespace": namespace, "kafka": kafka | more}
        return Settings.model_validate(named)

    def hear(self, line: bytes) -> None:
        """A line of the broker's log."""
        text = line.decode(errors="replace")
        if found := _ALLOWED.search(text):
            kind, name, pattern, user, operation = found.groups()
            grant = Grant(Operation[operation], Resource[kind], name, pattern == "PREFIXED")
            self.used.add((user, grant))
        elif found := _DENIED.search(text):
            self.denied.add(found.groups())  # type: ignore[arg-type]


def _kafka(user: str) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_username": user,
        "sasl_password": PASSWORD,
    }


def _binding(user: str, grant: Grant) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL
    operation = AclOperation[grant.operation.name]
    allowed = AclPermissionType.ALLOW
    kind = KINDS[grant.resource]
    return AclBinding(kind, grant.name, pattern, f"User:{user}", "*", operation, allowed)


def _listening(
    properties: Mapping[str, str], ports: tuple[int, int], broker: Path, authority: Authority
) -> dict[str, str]:
    """The properties with two more listeners, and an authoriser."""
    more = {"SASL_PLAINTEXT": ports[0], "SSL": ports[1]}
    listeners = "".join(f",{name}://127.0.0.1:{port}" for name, port in more.items())
    mechanisms = ("scram-sha-512", "scram-sha-256", "plain")
    module = dict.fromkeys(mechanisms, "scram.ScramLoginModule required;")
    module["plain"] = f'plain.PlainLoginModule required user_{PLAIN_USER}="{PASSWORD}";'
    names = "listener.security.protocol.map"
    return {
        **properties,
        "listeners": properties["listeners"] + listeners,
        "advertised.listeners": properties["advertised.listeners"] + listeners,
        names: properties[names] + "".join(f",{name}:{name}" for name in more),
        "sasl.enabled.mechanisms": ",".join(each.upper() for each in mechanisms),
        **{
            f"listener.name.sasl_plaintext.{name}.sasl.jaas.config": f"{JAAS}.{text}"
            for name, text in module.items()
        },
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(broker),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/,DEFAULT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One for the whole session, whose log tells what is allowed and denied."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    pair = authority.peer("broker")
    both = folder / "broker.both.pem"
    both.write_bytes(pair.key + pair.certificate)
    ports = _spare(), _spare()

    def properties(*arguments: Any) -> str:
        lines = server_properties(*arguments).splitlines()
        given = {name: value for name, _, value in (line.partition("=") for line in lines)}
        wanted = _listening(given, ports, both, authority)
        return "".join(f"{name}={value}\n" for name, value in wanted.items())

    def options() -> list[str]:
        told = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug"
        return [*java_options(), told]

    broker = EmbeddedBroker(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "server_properties", properties)
        patch.setattr(embedded, "java_options", options)
        broker.start()
    sasl, tls = (f"127.0.0.1:{port}" for port in ports)
    inside = broker.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": inside, "log_level": 0})
    made = Guarded(admin, inside, sasl, tls, authority)
    broker._log._write = made.hear  # type: ignore[method-assign]
    yield made
    broker.stop()


def _spare() -> int:
    with socket.socket() as spare:
        spare.bind(("127.0.0.1", 0))
        return int(spare.getsockname()[1])
