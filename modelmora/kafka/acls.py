"""Who may do what on the cluster: the least that each component of ModelMora needs there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelmora.kafka.topics import LANE_TOPICS, TIERS, Topic
from modelmora.settings import Settings


class Component(StrEnum):
    """What comes to the brokers with rights of its own: processes, clients, verbs of the CLI."""

    NODE = "node"
    GATEWAY = "gateway"
    CLIENT = "client"
    TOPICS = "topics"
    TOPICS_CREATE = "topics-create"
    NODES = "nodes"
    RESULTS = "results"
    EVENTS = "events"
    TRACE = "trace"
    TRAFFIC = "traffic"
    COMPARE = "compare"
    LOAD = "load"
    DLQ = "dlq"
    DLQ_REPLAY = "dlq-replay"
    DLQ_PURGE = "dlq-purge"
    GROUPS = "groups"
    GROUPS_RESET = "groups-reset"
    DOCTOR = "doctor"
    AUDIT = "audit"
    BACKUP = "backup"
    RESTORE = "restore"


class Operation(StrEnum):
    """What may be done, in Kafka's words."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DELETE = "Delete"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


class Resource(StrEnum):
    """What it may be done with."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional id"
    CLUSTER = "cluster"


CLUSTER = "kafka-cluster"
"""The name that Kafka itself has for the only resource of its kind."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One operation on one resource, or on all whose names begin so; as text, what is granted."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        if self.resource is Resource.CLUSTER:
            return f"{self.operation} on the cluster"
        kind = f"{self.resource}s" if self.prefixed else self.resource
        return f"{self.operation} on {kind} {self.name}{'*' if self.prefixed else ''}"

    def covers(self, name: str) -> bool:
        """Whether it is about a resource of this name."""
        return name.startswith(self.name) if self.prefixed else name == self.name


@dataclass(frozen=True, slots=True)
class Need:
    """What a component does: `use` says it to a person.

    `looks` is to read by `modelmora.kafka.reading.reader`, `table` to look at all topics and their
    configuration, `creates` to make those that are missing, `group` what is done with the group of
    the nodes.
    """

    use: str
    reads: frozenset[Topic] = frozenset()
    writes: frozenset[Topic] = frozenset()
    deletes: frozenset[Topic] = frozenset()
    looks: bool = False
    table: bool = False
    creates: bool = False
    group: tuple[Operation, ...] = ()


_LANES = frozenset(LANE_TOPICS.values())
_REQUESTS = _LANES | TIERS.keys()
_READ = _REQUESTS | {Topic.SHADOW}
"""What the group of the nodes reads."""
_TOLD = frozenset({Topic.EVENTS, Topic.AUDIT})
_LOOK = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
NEEDS: Mapping[Component, Need] = {
    Component.NODE: Need(
        "serve --role node",
        reads=_READ | {Topic.RESULTS, Topic.REGISTRY, Topic.CONTROL, Topic.BUDGETS, Topic.COMPARE},
        writes=_READ
        | {
            Topic.BUDGETS,
            Topic.COMPARE,
            Topic.RESULTS,
            Topic.RESULTS_JSON,
            Topic.PROGRESS,
            Topic.JOBS,
            Topic.DEAD_LETTERS,
            Topic.EVENTS,
            Topic.METRICS,
            Topic.AUDIT,
            Topic.REGISTRY,
        },
        table=True,
        group=(Operation.READ,),
    ),
    Component.GATEWAY: Need(
        "serve --role gateway",
        reads=frozenset(
            {
                Topic.RESULTS,
                Topic.PROGRESS,
                Topic.JOBS,
                Topic.BATCHES,
                Topic.REGISTRY,
                Topic.EVENTS,
                Topic.BUDGETS,
            }
        ),
        writes=_LANES
        | {
            Topic.CONTROL,
            Topic.JOBS,
            Topic.BATCHES,
            Topic.EVENTS,
            Topic.METRICS,
            Topic.AUDIT,
            Topic.BUDGETS,
            Topic.REGISTRY,
        },
        table=True,
    ),
    Component.CLIENT: Need(
        "produce, and programs with the Python client over Kafka",
        reads=frozenset({Topic.RESULTS, Topic.REGISTRY}),
        writes=_LANES | {Topic.CONTROL},
    ),
    Component.TOPICS: Need("topics list and describe", looks=True, table=True),
    Component.TOPICS_CREATE: Need("topics create", table=True, creates=True),
    Component.NODES: Need(
        "nodes, ps --all and list --all", reads=frozenset({Topic.REGISTRY}), looks=True
    ),
    Component.RESULTS: Need("results", reads=frozenset({Topic.RESULTS}), looks=True),
    Component.EVENTS: Need("events", reads=frozenset({Topic.EVENTS}), looks=True),
    Component.TRACE: Need(
        "trace",
        reads=_REQUESTS | {Topic.RESULTS, Topic.PROGRESS, Topic.DEAD_LETTERS, Topic.CONTROL},
        looks=True,
    ),
    Component.TRAFFIC: Need(
        "traffic record", reads=_LANES | {Topic.RESULTS, Topic.REGISTRY}, looks=True
    ),
    Component.COMPARE: Need(
        "compare",
        reads=_LANES | {Topic.RESULTS, Topic.COMPARE, Topic.REGISTRY},
        writes=_TOLD | {Topic.SHADOW},
        looks=True,
    ),
    Component.LOAD: Need(
        "load, unload, pin and unpin",
        reads=frozenset({Topic.EVENTS}),
        writes=frozenset({Topic.CONTROL}),
        looks=True,
    ),
    Component.DLQ: Need("dlq list and show", reads=frozenset({Topic.DEAD_LETTERS}), looks=True),
    Component.DLQ_REPLAY: Need(
        "dlq replay",
        reads=frozenset({Topic.DEAD_LETTERS}),
        writes=_LANES | {Topic.DEAD_LETTERS} | _TOLD,
        looks=True,
    ),
    Component.DLQ_PURGE: Need(
        "dlq purge",
        reads=frozenset({Topic.DEAD_LETTERS}),
        writes=_TOLD | {Topic.DEAD_LETTERS},
        deletes=frozenset({Topic.DEAD_LETTERS}),
        looks=True,
    ),
    Component.GROUPS: Need(
        "groups list and describe, of the nodes' group",
        reads=_READ | {Topic.REGISTRY},
        group=_LOOK,
        looks=True,
    ),
    Component.GROUPS_RESET: Need(
        "groups reset, of the nodes' group",
        reads=_READ,
        writes=_TOLD,
        group=(Operation.READ,),
    ),
    Component.DOCTOR: Need("doctor", reads=_LANES, table=True, group=_LOOK),
    Component.AUDIT: Need(
        "audit list and verify", reads=frozenset({Topic.AUDIT, Topic.EVENTS}), looks=True
    ),
    Component.BACKUP: Need("backup", reads=frozenset({Topic.REGISTRY}), looks=True),
    Component.RESTORE: Need(
        "restore",
        reads=frozenset({Topic.REGISTRY}),
        writes=_TOLD | {Topic.REGISTRY},
        looks=True,
    ),
}


def reader_group(settings: Settings) -> str:
    """The name of a group that never comes to be: librdkafka wants one, and asks for it."""
    return f"{settings.namespace}.cli"


def shadow_group(settings: Settings) -> str:
    """The name of the group in which nodes read their lanes to copy what is asked."""
    return f"{settings.group}.shadow"


def grants(component: Component, settings: Settings) -> tuple[Grant, ...]:
    """The least that a component needs under these settings, and nothing twice.

    With `topics.create` nodes and gateways make missing topics, and nodes set the session of
    their group; with exactly-once delivery nodes have transactions, each other's too.
    """
    return tuple(dict.fromkeys(_grants(component, NEEDS[component], settings)))


def _grants(component: Component, need: Need, settings: Settings) -> Iterator[Grant]:
    namespace, group = settings.namespace, settings.group
    serves = component in (Component.NODE, Component.GATEWAY)
    for operation, topics in (
        (Operation.READ, need.reads),
        (Operation.WRITE, need.writes),
        (Operation.DELETE, need.deletes),
    ):
        for topic in _in_order(topics):
            yield Grant(operation, Resource.TOPIC, topic.full(namespace))
    every = f"{namespace}."
    if need.table:
        for operation in _LOOK:
            yield Grant(operation, Resource.TOPIC, every, prefixed=True)
    if need.creates or (serves and settings.topics.create):
        yield Grant(Operation.CREATE, Resource.TOPIC, every, prefixed=True)
    for operation in need.group:
        yield Grant(operation, Resource.GROUP, group)
    if need.looks:
        yield Grant(Operation.DESCRIBE, Resource.GROUP, reader_group(settings))
    if component is Component.NODE:
        yield from _of_node(settings)
    elif component is Component.DLQ_REPLAY:
        yield Grant(Operation.WRITE, Resource.TRANSACTIONAL_ID, f"{namespace}.dlq")
    elif component is Component.DOCTOR:
        yield Grant(Operation.DESCRIBE_CONFIGS, Resource.CLUSTER, CLUSTER)


def _of_node(settings: Settings) -> Iterator[Grant]:
    if settings.topics.create:
        yield Grant(Operation.ALTER_CONFIGS, Resource.GROUP, settings.group)
    yield Grant(Operation.READ, Resource.GROUP, shadow_group(settings))
    if settings.delivery == "exactly_once":
        yield Grant(Operation.WRITE, Resource.TRANSACTIONAL_ID, f"{settings.group}.", prefixed=True)
    for pattern in settings.reply_topics:
        name, star, _ = pattern.partition("*")
        yield Grant(Operation.WRITE, Resource.TOPIC, name, prefixed=bool(star))


def _in_order(topics: Iterable[Topic]) -> list[Topic]:
    """As the table has them."""
    return sorted(topics, key=list(Topic).index)
