"""The topics as an AsyncAPI 3.0 document, made from their table, the schemas and the headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from modelmora.kafka.events import cloud_event
from modelmora.kafka.topics import LANE_TOPICS, TABLE, Topic, TopicSpec
from modelmora.messages import EventKind, LifecycleEvent
from modelmora.messages import headers as names
from modelmora.wire.plainjson import JsonRequest
from modelmora.wire.schemas import NAMES, read_schema

AVRO = "application/vnd.apache.avro;version=1.9.0"
JSON = "application/json"
BINDING = {"bindingVersion": "0.5.0"}
LANES = tuple(LANE_TOPICS.values())
READ = {*LANES, Topic.CONTROL}
"""The topics that others write and ModelMora reads; it writes the rest."""
REQUEST, RESULT, EVENT = "InferenceRequest", "InferenceResult", "LifecycleEvent"
IN_JSON = " as JSON"
REPLIES = "replies"
_ID = "0199d3a0-7c1e-7000-8000-3b6a5d2c1f00"
_AT = 1_767_225_600_000
_RUN = {names.RUN: "which run of its id it is, as decimal text; 1 without it"}
_TRACE = {names.TRACEPARENT: "W3C trace context"}
_PRINCIPAL = {names.PRINCIPAL: "who asks; `local` without it"}
_CORRELATION = {names.CORRELATION_ID: "opaque bytes by which a requester knows its reply"}
HEADERS: Mapping[str, Mapping[str, str]] = {
    REQUEST: {
        **_PRINCIPAL,
        names.REPLY_PARTITION: "the partition of `results` to answer on, as decimal text",
        names.REPLY_TOPIC: "a topic, allowed by the nodes, on which to answer too",
        names.REPLY_TO_PARTITION: "the reply topic's partition, a big-endian int32",
        **_CORRELATION,
        names.CONTENT_TYPE: f"`{JSON}` for JSON that does not begin with a brace",
        names.REQUEST_ID: "the id of a request in JSON that holds none",
        **_RUN,
        **_TRACE,
    },
    RESULT: {
        names.ERROR_CODE: "the error code, where there is one",
        names.READ_AT: "partition, offset and topic where it was read, if it was handed on",
        **_CORRELATION,
        **_TRACE,
    },
    "original bytes": {names.ERROR_CODE: "why it became no result", **_RUN},
    "ControlCommand": _PRINCIPAL,
    "AuditEvent": {names.SIGNATURE: "Ed25519 of the value, in single-object encoding"},
    EVENT: {
        "ce_specversion": "CloudEvents 1.0, in Kafka's binary mode",
        "ce_id": "of this event, unique",
        "ce_source": "which node tells",
        "ce_type": "`modelmora.<kind>`",
        "ce_time": "when, RFC 3339",
        "ce_subject": "name@version of the model, or the node",
        "ce_partitionkey": "the record's key",
        "content-type": "`application/avro`",
    },
}


def document(namespace: str, version: str) -> dict[str, Any]:
    """The document of a namespace; `version` is that of what serves it."""
    messages = {_name(spec.value): _message(spec) for spec in TABLE.values()}
    request = _name(REQUEST + IN_JSON)
    messages[request] = _message(TopicSpec("model name", REQUEST + IN_JSON, None))
    schema = JsonRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs")
    replies = (_name(RESULT), _name(RESULT + IN_JSON))
    channels = {topic.value: _channel(topic, namespace) for topic in TABLE}
    for lane in LANES:
        channels[lane.value]["messages"][request] = _ref("components", "messages", request)
    channels[REPLIES] = {
        "address": None,
        "description": f"A topic of the requester's, named by the header {names.REPLY_TOPIC}.",
        "messages": {each: _ref("components", "messages", each) for each in replies},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ModelMora",
            "version": version,
            "description": "Models on Kafka: a request is a record, and so is its outcome. Values "
            "are Avro in single-object encoding: the bytes C3 01, the schema's CRC-64-AVRO "
            "fingerprint (little-endian), the value. Operations are ModelMora's: what it receives, "
            "others send.",
        },
        "defaultContentType": "application/avro",
        "servers": {
            "kafka": {"host": "localhost:9092", "protocol": "kafka", "bindings": _bind({})}
        },
        "channels": channels,
        "operations": _operations(),
        "components": {"messages": messages, "schemas": {**parts, request: schema}},
    }


def _name(value: str) -> str:
    """A message's name in the document."""
    words = value.replace(IN_JSON, " Json").split()
    return "".join(word[0].upper() + word[1:] for word in words)


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _bind(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"kafka": {**facts, **BINDING}}


def _channel(topic: Topic, namespace: str) -> dict[str, Any]:
    spec = TABLE[topic]
    config: dict[str, Any] = {
        name: int(value) if value.isdigit() else value
        for name, value in spec.broker_config().items()
    }
    config["cleanup.policy"] = config.get("cleanup.policy", "delete").split(",")
    partitions = {"partitions": spec.partitions} if spec.partitions else {}
    name = _name(spec.value)
    content = "Holds" if spec.content else "Never holds"
    return {
        "address": topic.full(namespace),
        "description": f"Key: {spec.key}. {content} what callers send or receive.",
        "messages": {name: _ref("components", "messages", name)},
        "bindings": _bind({**partitions, "topicConfiguration": config}),
    }


def _operations() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for topic, spec in TABLE.items():
        action = "receive" if topic in READ else "send"
        made[f"{action}.{topic}"] = {
            "action": action,
            "channel": _ref("channels", topic),
            "summary": f"{_name(spec.value)} on {topic}",
        }
    for lane in LANES:
        made[f"receive.{lane}"]["reply"] = {"channel": _ref("channels", Topic.RESULTS)}
        made[f"receive.{lane}.{REPLIES}"] = {
            "action": "receive",
            "channel": _ref("channels", lane),
            "summary": f"A request that names a reply topic, where its outcome is too ({lane})",
            "reply": {
                "address": {"location": f"$message.header#/{names.REPLY_TOPIC}"},
                "channel": _ref("channels", REPLIES),
            },
        }
    return made


def _message(spec: TopicSpec) -> dict[str, Any]:
    """What lies on a topic: its key, headers, schema, and an example."""
    value, in_json = spec.value.removesuffix(IN_JSON), spec.value.endswith(IN_JSON)
    made: dict[str, Any] = {
        "name": spec.value,
        "contentType": JSON if in_json else "application/avro",
        "bindings": _bind({"key": {"type": "string", "description": spec.key}}),
    }
    if told := HEADERS.get(value):
        shown = {name: {"type": "string", "description": text} for name, text in told.items()}
        made["headers"] = {"type": "object", "properties": shown}
    schema = next((read_schema(n) for n in NAMES if read_schema(n)["name"] == value), None)
    if schema is None:
        return {**made, "contentType": "application/octet-stream"}
    made["summary"] = schema["doc"]
    fields = [field["name"] for field in schema["fields"]]
    if "request_id" in fields:
        made["correlationId"] = {"location": "$message.payload#/request_id"}
    if not in_json:
        made["payload"] = {"schemaFormat": AVRO, "schema": schema}
    elif value == REQUEST:
        made["payload"] = _ref("components", "schemas", _name(spec.value))
    else:
        parts = {field["name"]: {"description": field["doc"]} for field in schema["fields"]}
        made["payload"] = {"type": "object", "properties": parts}
    if found := _examples().get(spec.value):
        made["examples"] = list(found)
    return made


def _examples() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Per message, as AsyncAPI has them: headers and payload as JSON."""
    asked = {"request_id": _ID, "model": "echo", "inputs": ["Hello"], "progress": True}
    told = {
        "request_id": _ID,
        "status": "COMPLETED",
        "model": "echo",
        "version": "1",
        "source": {"topic": "modelmora.requests.normal", "partition": 3, "offset": 42},
        "outputs": ["Hello"],
        "settings": {},
        "attempt": 1,
        "error": None,
        "timings": {"queue_ms": 1.5, "load_ms": 0.0, "inference_ms": 12.0, "total_ms": 14.0},
    }
    event = LifecycleEvent(_ID, EventKind.LOADED, "n1", _AT, "echo", "1", {"load_ms": 412.5})
    heads = {name: text.decode() for name, text in cloud_event(event, "/modelmora/nodes/n1")}
    return {
        REQUEST: [{"payload": asked}],
        REQUEST + IN_JSON: [{"payload": asked}],
        RESULT: [{"payload": told}],
        RESULT + IN_JSON: [{"payload": told}],
        EVENT: [{"headers": heads, "payload": {**asdict(event), "kind": event.kind.value}}],
    }
