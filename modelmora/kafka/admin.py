"""Creating and describing topics, idempotent, and saying what differs from the table."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from modelmora.errors import ConfigurationError, ModelMoraError, Unreachable, WrongCredentials
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.topics import (
    CLUSTER_PARTITIONS,
    LANE_TOPICS,
    TABLE,
    Topic,
    TopicSpec,
    spec_of,
)
from modelmora.settings import Settings
from modelmora.text import counted

WAIT_S = 15.0
RECONNECT_MS = 200
"""A broker that is just starting is found soon; librdkafka's own pauses grow to 10 s."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the broker has it; `differs` names what is not as the table says."""

    topic: Topic
    name: str
    exists: bool
    partitions: int = 0
    replication: int = 0
    differs: tuple[str, ...] = ()


def explain(error: KafkaException | KafkaError, servers: str) -> ModelMoraError:
    """A client error as one line for a person."""
    fault = error.args[0] if isinstance(error, KafkaException) else error
    if fault.code() in (
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ):
        return WrongCredentials()
    if fault.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT):
        return Unreachable(f"no broker answers at {servers}; is it running, is the address right?")
    return ModelMoraError(f"the broker at {servers} refused: {fault.str()}")


class _Heard:
    """What a client says between its answers."""

    auth_failed = False

    def on_error(self, error: KafkaError) -> None:
        """Refused credentials are only told here, from poll(): the call itself just times out."""
        self.auth_failed |= error.code() == KafkaError._AUTHENTICATION


class Admin:
    """Topics of one namespace on one cluster. Blocking: call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers = bootstrap_servers(settings)
        # Not a method of ours: client and Admin would hold each other, and the client's threads
        # stay until the cycle collector comes.
        self._heard = _Heard()
        config = confluent_config(settings) | {
            "error_cb": self._heard.on_error,
            "reconnect.backoff.max.ms": RECONNECT_MS,
        }
        try:
            self._client = AdminClient(config)
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None

    def existing(self) -> dict[str, int]:
        """Partition counts of every topic there is. Raises Unreachable, WrongCredentials."""
        wait_s = self._settings.timing.broker_s
        until = time.monotonic() + wait_s
        while True:
            try:
                metadata = self._client.list_topics(timeout=min(1.0, wait_s))
            except KafkaException as error:
                self._client.poll(0)
                if self._heard.auth_failed:
                    raise WrongCredentials from None
                if time.monotonic() >= until:
                    raise explain(error, self._servers) from None
            else:
                return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def configure_group(self) -> str | None:
        """Give the nodes' group the session of our settings; what the broker has instead, if so.

        Only the consumer protocol (KIP-848) asks the broker; by its defaults a killed node would
        be missed after 45 s, and a new one get partitions after 5 s.
        """
        session_ms = round(self._settings.timing.session_timeout_s * 1000)
        wanted = {
            "consumer.session.timeout.ms": str(session_ms),
            "consumer.heartbeat.interval.ms": str(max(500, min(1_000, session_ms // 3))),
        }
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in wanted.items()
        ]
        group = ConfigResource(
            ResourceType.GROUP, self._settings.group, incremental_configs=entries
        )
        try:
            self._client.incremental_alter_configs([group])[group].result(WAIT_S)
        except KafkaException as error:
            return str(error.args[0].str())
        return None

    def describe(self) -> list[TopicState]:
        """Each topic of the table as it is."""
        existing = self.existing()
        names = {topic: topic.full(self._settings.namespace) for topic in TABLE}
        configs = self._configs(name for name in names.values() if name in existing)
        lanes = {existing.get(names[topic], 0) for topic in LANE_TOPICS.values()}
        return [
            self._state(
                topic, spec_of(topic, self._settings), names[topic], existing, configs, lanes
            )
            for topic in TABLE
        ]

    def create(self) -> list[TopicState]:
        """Create what is missing, then describe; existing topics are never changed."""
        namespace = self._settings.namespace
        existing = self.existing()
        lanes = [existing[n] for t in LANE_TOPICS.values() if (n := t.full(namespace)) in existing]
        wanted = lanes[0] if lanes else self._settings.topics.partitions or CLUSTER_PARTITIONS
        new = [
            NewTopic(
                topic.full(namespace),
                num_partitions=spec.partitions or wanted,
                replication_factor=self._settings.topics.replication_factor or -1,
                config=spec_of(topic, self._settings).broker_config(),
            )
            for topic, spec in TABLE.items()
            if topic.full(namespace) not in existing
        ]
        for future in self._client.create_topics(new).values() if new else ():
            try:
                future.result(WAIT_S)
            except KafkaException as error:
                # Another node may create the same topics at the same moment.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise explain(error, self._servers) from None
        self._await_topics({topic.topic for topic in new})
        return self.describe()

    def _await_topics(self, names: set[str]) -> None:
        """A broker knows of a topic a moment after the controller has created it."""
        until = time.monotonic() + WAIT_S
        while not names <= self.existing().keys() and time.monotonic() < until:
            time.sleep(0.05)

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        try:
            return {
                resource.name: {k: entry.value for k, entry in future.result(WAIT_S).items()}
                for resource, future in (
                    self._client.describe_configs(resources).items() if resources else ()
                )
            }
        except KafkaException as error:
            raise explain(error, self._servers) from None

    def _state(
        self,
        topic: Topic,
        spec: TopicSpec,
        name: str,
        existing: dict[str, int],
        configs: dict[str, dict[str, str]],
        lanes: set[int],
    ) -> TopicState:
        if name not in existing:
            return TopicState(topic, name, exists=False, differs=("missing",))
        differs = [
            f"{key} is {configs[name].get(key)}, not {value}"
            for key, value in spec.broker_config().items()
            if configs[name].get(key) != value
        ]
        if spec.partitions and existing[name] != spec.partitions:
            differs.append(f"{counted(existing[name], 'partition')}, not {spec.partitions}")
        if topic in LANE_TOPICS.values() and len(lanes) > 1:
            most = max(lanes)
            if existing[name] < most:
                differs.append(f"{counted(existing[name], 'partition')}, another lane has {most}")
        return TopicState(topic, name, True, existing[name], differs=tuple(differs))


def check_lanes(states: Iterable[TopicState]) -> int:
    """The lanes' common partition count.

    Raises ConfigurationError where a topic is missing, the lanes differ (a model's lanes would
    land on different nodes) or a lane does not carry the broker's clock (deadlines need it).
    """
    by_topic = {state.topic: state for state in states}
    missing = [state.name for state in by_topic.values() if not state.exists]
    if missing:
        raise ConfigurationError(f"{missing[0]} does not exist; run `modelmora topics create`")
    lanes = [by_topic[topic] for topic in LANE_TOPICS.values()]
    if len({lane.partitions for lane in lanes}) > 1:
        counts = ", ".join(f"{lane.name} {lane.partitions}" for lane in lanes)
        raise ConfigurationError(f"the lanes must have equal partition counts: {counts}")
    for lane in lanes:
        wrong = [fault for fault in lane.differs if "timestamp.type" in fault]
        if wrong:
            raise ConfigurationError(f"{lane.name}: {wrong[0]}")
    return lanes[0].partitions
