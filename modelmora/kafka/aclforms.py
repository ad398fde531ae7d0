"""Rights written down as the tools take them: kafka-acls, rpk, and Strimzi's KafkaUser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from modelmora.kafka.acls import Grant, Operation, Resource

Form = Literal["kafka-acls", "rpk", "strimzi"]
Rights = Mapping[str, Sequence[Grant]]
"""What each principal is granted."""
SERVERS = "${BROKERS:?}"
"""Brokers and the settings of who may grant are no part of what is granted."""
ADMIN = "${ADMIN_PROPERTIES:?}"
_FLAGS = {
    Resource.TOPIC: "--topic",
    Resource.GROUP: "--group",
    Resource.TRANSACTIONAL_ID: "--transactional-id",
}
_STRIMZI = {
    Resource.TOPIC: "topic",
    Resource.GROUP: "group",
    Resource.TRANSACTIONAL_ID: "transactionalId",
    Resource.CLUSTER: "cluster",
}
Together = tuple[Resource, bool, tuple[Operation, ...], tuple[str, ...]]
"""A kind of resource, whether by prefix, and the operations granted on all of the names."""


def kafka_acls(rights: Rights) -> Iterator[str]:
    """A command for each set of names with the same operations."""
    start = f'kafka-acls.sh --bootstrap-server "{SERVERS}" --command-config "{ADMIN}" --add'
    for principal, granted in rights.items():
        for kind, prefixed, operations, names in together(granted):
            words = ["--allow-principal", principal]
            words += [word for each in operations for word in ("--operation", each.value)]
            words += _named(kind, names)
            words += ["--resource-pattern-type", "prefixed"] if prefixed else []
            yield f"{start} {shlex.join(words)}"


def rpk(rights: Rights) -> Iterator[str]:
    """The same for Redpanda, which has no settings of groups that could be looked at or altered."""
    for principal, granted in rights.items():
        known = [each for each in granted if not _is_setting_of_group(each)]
        for kind, prefixed, operations, names in together(known):
            words = ["--allow-principal", principal]
            words += ["--operation", ",".join(each.value.lower() for each in operations)]
            words += _named(kind, names)
            words += ["--resource-pattern-type", "prefixed"] if prefixed else []
            yield f"rpk security acl create {shlex.join(words)}"


def strimzi(rights: Rights, authentication: str) -> Iterator[dict[str, Any]]:
    """A KafkaUser for each principal; who applies them names the cluster in its label."""
    for principal, granted in rights.items():
        acls = []
        for kind, prefixed, operations, names in together(granted):
            for name in names:
                resource = {"type": _STRIMZI[kind]}
                if kind is not Resource.CLUSTER:
                    pattern = "prefix" if prefixed else "literal"
                    resource |= {"name": name, "patternType": pattern}
                acls.append(
                    {"resource": resource, "operations": [each.value for each in operations]}
                )
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {
                "name": _name_of(principal),
                "labels": {"strimzi.io/cluster": "CLUSTER"},
            },
            "spec": {
                "authentication": {"type": authentication},
                "authorization": {"type": "simple", "acls": acls},
            },
        }


def together(granted: Iterable[Grant]) -> list[Together]:
    """Operations by resource, then resources with the same operations, in the order given."""
    of: dict[tuple[Resource, bool, str], dict[Operation, None]] = {}
    for each in granted:
        of.setdefault((each.resource, each.prefixed, each.name), {})[each.operation] = None
    found: dict[tuple[Resource, bool, tuple[Operation, ...]], list[str]] = {}
    for (kind, prefixed, name), operations in of.items():
        in_order = tuple(each for each in Operation if each in operations)
        found.setdefault((kind, prefixed, in_order), []).append(name)
    return [(*kind, tuple(names)) for kind, names in found.items()]


def _named(kind: Resource, names: Iterable[str]) -> list[str]:
    if kind is Resource.CLUSTER:
        return ["--cluster"]
    return [word for name in names for word in (_FLAGS[kind], name)]


def _is_setting_of_group(grant: Grant) -> bool:
    settings = (Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS)
    return grant.resource is Resource.GROUP and grant.operation in settings


def _name_of(principal: str) -> str:
    """The name of a user in Kubernetes: `User:CN=a_b` is `a-b`."""
    name = principal.removeprefix("User:").removeprefix("CN=").lower()
    return re.sub(r"[^a-z0-9.-]", "-", name)
