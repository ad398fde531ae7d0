"""What the broker does not allow, said in one line that names what to grant."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from modelmora.errors import NotAllowed
from modelmora.kafka.acls import Grant, Operation, Resource

SHOWN = 5
DENIALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}


def is_denial(error: KafkaException | KafkaError) -> bool:
    """Whether it is about rights that we lack."""
    fault = error.args[0] if isinstance(error, KafkaException) else error
    return fault.code() in DENIALS


def not_allowed(*lacking: Grant) -> NotAllowed:
    """The error that names these."""
    named = ", ".join(map(str, lacking[:SHOWN]))
    if len(lacking) > SHOWN:
        named += f" and {len(lacking) - SHOWN} more"
    return NotAllowed(f"the broker denies us {named}; `modelmora topics acls` prints what to grant")


def reason(error: KafkaError, needed: Grant) -> str:
    """Why it failed, in the broker's words unless this right is what we lack."""
    return str(not_allowed(needed)) if is_denial(error) else error.str()


def on_group(operation: Operation, name: str) -> Grant:
    """The right to do something with a group."""
    return Grant(operation, Resource.GROUP, name)


def on_topic(operation: Operation, name: str | None) -> Grant:
    """The right to do something with a topic."""
    return Grant(operation, Resource.TOPIC, name or "")
