"""OpenTelemetry's names of what spans tell, which are still changing, in one place."""

MODEL = "gen_ai.request.model"
TOKENS = {"input": "gen_ai.usage.input_tokens", "output": "gen_ai.usage.output_tokens"}
"""How many there were, by kind."""
ERROR = "error.type"
SYSTEM = "messaging.system"
OPERATION = "messaging.operation.type"
OPERATION_NAME = "messaging.operation.name"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
GROUP = "messaging.consumer.group.name"
MESSAGES = "messaging.batch.message_count"

REQUEST_ID = "modelmora.request_id"
DOOR = "modelmora.door"
LANE = "modelmora.lane"
STATUS = "modelmora.status"
ATTEMPT = "modelmora.attempt"
VERSION = "modelmora.model_version"

SEND, PROCESS = "send", "process"
"""Operations on records, and what the names of their spans begin with."""
INFER, QUEUE, LOAD, CHILD, BATCH = "infer", "queue", "load", "child", "batch"
"""The other spans."""

Facts = dict[str, str | int | float]


def message(operation: str, topic: str, partition: int | None, offset: int | None) -> Facts:
    """What the span of an operation on a record tells; None where that is not known."""
    told: Facts = {
        SYSTEM: "kafka",
        OPERATION: operation,
        OPERATION_NAME: operation,
        DESTINATION: topic,
    }
    if partition is not None:
        told[PARTITION] = str(partition)
    if offset is not None:
        told[OFFSET] = offset
    return told


def named(operation: str, topic: str) -> str:
    """The name of the span of an operation on records of a topic."""
    return f"{operation} {topic}"
