"""What runs on this machine for a role, and on which ports: decided before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelmora.access.binding import check_binding
from modelmora.access.certificates import Certificates
from modelmora.access.files import keyring_of
from modelmora.broker.config import HOST, Ports, choose_ports, ports_file
from modelmora.broker.ports import any_ports, require_free
from modelmora.errors import ConfigurationError
from modelmora.kafka.topics import EMBEDDED_PARTITIONS
from modelmora.settings import YEAR_S, Settings
from modelmora.surroundings import interpreter

NODE = interpreter("modelmora.node")
GATEWAY = interpreter("modelmora.gateway")
_PORTS = {"http_port": "REST", "grpc_port": "gRPC", "node_http_port": "the node"}
_ROLE_PORTS = {
    "all": ("http_port", "grpc_port", "node_http_port"),
    "node": ("node_http_port",),
    "gateway": ("http_port", "grpc_port"),
}


@dataclass(frozen=True, slots=True)
class Commands:
    """The programs to run; the tests put small ones in their place."""

    node: Sequence[str] = NODE
    gateway: Sequence[str] = GATEWAY


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs here, in the order of starting, and the settings with their ports settled."""

    settings: Settings
    own_broker: bool
    programs: tuple[str, ...]


def make_plan(settings: Settings, member_id: str) -> Plan:
    """Decide the parts, the ports (so that a restarted part gets the same) and the member's name.

    1. A broker of our own runs with role `all` and no bootstrap servers; its topics are small.
       Its address is known before it runs, and whoever needs it waits for it without end: we
       stop everything should it not start.
    2. Another role without bootstrap servers is a ConfigurationError, as is a port that is taken.
    3. So is a gateway that may not listen as it should, or needs keys and has none, and are
       certificates that cannot be used: it would be said only once the broker runs.
    4. The member is named, unless nodes come and go or the settings name it.
    """
    own_broker = settings.role == "all" and not settings.bootstrap_servers
    if not own_broker and not settings.bootstrap_servers:
        raise ConfigurationError(
            f"--role {settings.role} needs a Kafka cluster: pass --bootstrap-servers HOST:PORT "
            "(only --role all starts a broker of its own)"
        )
    if settings.role != "node":
        check_binding(settings)
        keyring_of(settings)
    Certificates.of(settings)
    settled: dict[str, object] = settle_ports(settings)
    if not settings.dynamic_member and settings.member_id is None:
        settled["member_id"] = member_id
    if own_broker:
        settled |= _own_broker(settings)
    programs = ("node", "gateway") if settings.role == "all" else (settings.role,)
    return Plan(settings.model_copy(update=settled), own_broker, programs)


def _own_broker(settings: Settings) -> dict[str, object]:
    ports = choose_ports(settings.broker_port, Ports.read(ports_file(settings.data_dir)))
    partitions = settings.topics.partitions or EMBEDDED_PARTITIONS
    return {
        "broker_port": ports.client,
        "bootstrap_servers": f"{HOST}:{ports.client}",
        "topics": settings.topics.model_copy(update={"partitions": partitions}),
        "timing": settings.timing.model_copy(update={"broker_s": YEAR_S}),
    }


def settle_ports(settings: Settings) -> dict[str, object]:
    """A port for each door of the role: those asked for, which must be free, others for 0."""
    names = _ROLE_PORTS[settings.role]
    asked = [port for name in names if (port := getattr(settings, name))]
    if len(set(asked)) < len(asked):
        raise ConfigurationError(
            f"ports {', '.join(map(str, asked))}: each of {', '.join(names)} needs its own"
        )
    spare = [port for port in any_ports(settings.host, 2 * len(names)) if port not in asked]
    return {
        name: require_free(settings.host, getattr(settings, name), _PORTS[name]) or spare.pop()
        for name in names
    }
