"""What the embedded Kafka is started with: its properties, its Java options, its two ports."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from modelmora.broker.ports import any_ports, is_free, require_free

HOST = "127.0.0.1"
KAFKA_PORT = 9092
DATA = "data"
PROPERTIES = "server.properties"
"""Under the broker's folder, which is its working directory."""
HEAP_MB = 384
STARTED = "Kafka Server started"
"""What Kafka's own log says, by this logger, when the broker is unfenced and listens."""
STARTED_LOGGER = "kafka.server.KafkaRaftServer"


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of the broker's clients and of its controller, both on 127.0.0.1."""

    client: int
    controller: int

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The ports used last time, or None where there are none to be read."""
        try:
            kept = json.loads(path.read_text())
            return cls(client=int(kept["client"]), controller=int(kept["controller"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Keep them for the next start, atomically."""
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(path)


def ports_file(data_dir: Path) -> Path:
    """Where they are kept."""
    return data_dir / "kafka" / "ports.json"


def choose_ports(asked: int | None, kept: Ports | None) -> Ports:
    """Decide the ports of this start.

    1. A client port asked for by number must be free: ConfigurationError otherwise.
    2. Else the port kept from last time is used if it is free, so that clients find us again.
    3. Else, with None, Kafka's own port if it is free, where a newcomer's tools look.
    4. Else any free port.
    The controller's port is nobody's business: kept if free, else any.
    """
    if asked:
        require_free(HOST, asked, "the broker")
    spare = any_ports(HOST, 3)
    wished = [kept.client] if kept else []
    if asked is None:
        wished.append(KAFKA_PORT)
    client = asked or next((port for port in wished if is_free(HOST, port)), spare[0])
    controller = kept.controller if kept and is_free(HOST, kept.controller) else spare[1]
    return Ports(client, controller if controller != client else spare[2])


def server_properties(ports: Ports) -> str:
    """Kafka's `server.properties`: one node, broker and controller in one, made for one machine.

    Its data is named from the broker's working directory: Kafka would split a folder's own path
    at commas, and read other characters than ASCII in it wrongly.
    """
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        "listeners": f"PLAINTEXT://{HOST}:{ports.client},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": DATA,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        # What a group may ask for; Kafka's own lower bounds (5 s, 45 s) make a slow failover.
        "group.consumer.min.heartbeat.interval.ms": 500,
        "group.consumer.min.session.timeout.ms": 1_000,
        # One node holds the only copy of Kafka's own topics; few partitions make them fast to load.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        # The default, 128 MiB, is a third of our heap; compacted topics here are small.
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "log.cleaner.backoff.ms": 5_000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # After kill -9 a broker may come back only when its former session has run out.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3_000,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def java_options() -> list[str]:
    """Options for a small, quickly started JVM that logs warnings to standard error."""
    log = "-Dorg.slf4j.simpleLogger."
    return [
        f"-Xmx{HEAP_MB}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ErrorFile=hs_err.log",
        "-Djava.awt.headless=true",
        f"{log}defaultLogLevel=warn",
        f"{log}log.{STARTED_LOGGER}=info",
        f"{log}showDateTime=true",
        f"{log}dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    ]


def java_environment() -> dict[str, str]:
    """The variables that the JVM gets: not ours (they may hold secrets), no JAVA_TOOL_OPTIONS."""
    kept = ("PATH", "TMPDIR", "TZ", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ}
