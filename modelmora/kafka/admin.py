"""Creating and describing topics, idempotent, and saying what differs from the table."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from modelmora.errors import (
    ConfigurationError,
    ModelMoraError,
    NotAllowed,
    Unreachable,
    WrongCredentials,
)
from modelmora.kafka.acls import Component, Grant, Operation, Resource, grants
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_group, reason
from modelmora.kafka.refused import Refusals
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
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION}
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


def explain(
    error: KafkaException | KafkaError, servers: str, needed: Grant | None = None
) -> ModelMoraError:
    """A client error as one line for a person; `needed` is the right without which it comes."""
    fault = error.args[0] if isinstance(error, KafkaException) else error
    if is_denial(fault):
        return not_allowed(needed) if needed else NotAllowed()
    if fault.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        return WrongCredentials()
    if fault.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT):
        return Unreachable(f"no broker answers at {servers}; is it running, is the address right?")
    return ModelMoraError(f"the broker at {servers} refused: {fault.str()}")


class Admin:
    """Topics of one namespace on one cluster. Blocking: call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers = bootstrap_servers(settings)
        # Not a method of ours: client and Admin would hold each other, and the client's threads
        # stay until the cycle collector comes.
        self._heard = Refusals()
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
                if self._heard.error:
                    raise self._heard.error from None
                if time.monotonic() >= until:
                    raise explain(error, self._servers) from None
            else:
                return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def require(self, component: Component) -> None:
        """See to it that we may do with the topics what this component does with them.

        Raises NotAllowed, which names what is denied, Unreachable, WrongCredentials. Rights to a
        topic that is missing are not known, and those to anything else show where they are used.
        """
        self.existing()  # which waits for brokers that are just starting
        wanted = [
            each
            for each in grants(component, self._settings)
            if each.resource is Resource.TOPIC and each.operation is not Operation.CREATE
        ]
        table = {topic.full(self._settings.namespace) for topic in TABLE}
        may = self._rights(table | {each.name for each in wanted if not each.prefixed})
        known = {name: rights for name, rights in may.items() if rights is not None}
        lacking = [
            each
            for each in wanted
            if any(each.covers(name) and each.operation not in known[name] for name in known)
        ]
        if lacking:
            raise not_allowed(*lacking)

    def _rights(self, names: Iterable[str]) -> dict[str, frozenset[Operation] | None]:
        """What we may do with each topic; None where there is none, or the broker does not say."""
        asked = self._client.describe_topics(
            TopicCollection([*names]), include_authorized_operations=True, request_timeout=WAIT_S
        )
        found: dict[str, frozenset[Operation] | None] = {}
        for name, future in asked.items():
            try:
                told = future.result(WAIT_S).authorized_operations
            except KafkaException as error:
                if error.args[0].code() in MISSING:
                    found[name] = None
                elif is_denial(error):
                    found[name] = frozenset()
                else:
                    raise explain(error, self._servers) from None
            else:
                known = (Operation.__members__.get(each.name) for each in told or ())
                found[name] = frozenset(each for each in known if each) or None
        return found

    def _check_hidden(self, missing: Iterable[str]) -> None:
        """A topic that we may not see looks as if there were none. Raises NotAllowed."""
        if (names := [*missing]) and frozenset() in self._rights(names).values():
            raise not_allowed(self._on_table(Operation.DESCRIBE))

    def _on_table(self, operation: Operation) -> Grant:
        return Grant(operation, Resource.TOPIC, f"{self._settings.namespace}.", prefixed=True)

    def _explain(self, error: KafkaException, operation: Operation) -> ModelMoraError:
        return explain(error, self._servers, self._on_table(operation))

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
        needed = on_group(Operation.ALTER_CONFIGS, self._settings.group)
        try:
            self._client.incremental_alter_configs([group])[group].result(WAIT_S)
        except KafkaException as error:
            return reason(error.args[0], needed)
        return None

    def describe(self) -> list[TopicState]:
        """Each topic of the table as it is."""
        existing = self.existing()
        names = {topic: topic.full(self._settings.namespace) for topic in TABLE}
        self._check_hidden(name for name in names.values() if name not in existing)
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
        table = {topic.full(namespace): spec_of(topic, self._settings) for topic in TABLE}
        missing = {name: spec for name, spec in table.items() if name not in existing}
        self._check_hidden(missing)
        new = [
            NewTopic(
                name,
                num_partitions=spec.partitions or wanted,
                replication_factor=self._settings.topics.replication_factor or -1,
                config=spec.broker_config(),
            )
            for name, spec in missing.items()
        ]
        for future in self._client.create_topics(new).values() if new else ():
            try:
                future.result(WAIT_S)
            except KafkaException as error:
                # Another node may create the same topics at the same moment.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._explain(error, Operation.CREATE) from None
        self._await_topics({topic.topic for topic in new})
        return self.describe()

    def _await_topics(self, names: set[str]) -> None:
        """A broker knows of a topic a moment after the controller has created it."""
        until = time.monotonic() + WAIT_S
        while not names <= self.existing().keys() and time.monotonic() < until:
            time.sleep(0.05)

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = {}
        for each, future in self._client.describe_configs(resources).items() if resources else ():
            try:
                entries = future.result(WAIT_S)
            except KafkaException as error:
                raise self._explain(error, Operation.DESCRIBE_CONFIGS) from None
            found[each.name] = {name: entry.value for name, entry in entries.items()}
        return found

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
