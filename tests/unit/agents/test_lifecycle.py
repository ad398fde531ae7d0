"""Events are CloudEvents: the reference implementation reads them from a Kafka message."""

from __future__ import annotations

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat

from modelmora.agents.lifecycle import Lifecycle
from modelmora.messages import EventKind
from modelmora.testing.fakes import FakeSender
from modelmora.wire import decode_event


class AvroFormat(JSONFormat):  # type: ignore[misc]
    """Leaves Avro data as it is."""

    def read_data(self, data: bytes, content_type: str | None) -> bytes:
        assert content_type == "application/avro"
        return data


def test_a_model_event_is_a_cloud_event() -> None:
    sender = FakeSender()
    lifecycle = Lifecycle(sender, "n1", "ns")
    lifecycle.event(EventKind.UNLOADED, ("echo", "2"), {"returned_share": 1.0, "exit_code": -9})
    (sent,) = sender.sent
    assert (sent.topic, sent.key) == ("ns.events", b"echo")
    headers = {name: value or b"" for name, value in sent.headers}
    event = from_kafka(KafkaMessage(headers, sent.key, sent.value or b""), AvroFormat())
    told = decode_event(sent.value)
    assert event.get_specversion() == "1.0"
    assert event.get_id() == told.id
    assert event.get_type() == "modelmora.unloaded"
    assert event.get_source() == "/ns/nodes/n1"
    assert event.get_subject() == "echo@2"
    assert event.get_datacontenttype() == "application/avro"
    when = event.get_time()
    assert when is not None
    assert round(when.timestamp() * 1000) == told.time
    assert (told.kind, told.node, told.model, told.version) == (
        EventKind.UNLOADED,
        "n1",
        "echo",
        "2",
    )
    assert told.facts == {"returned_share": 1.0, "exit_code": -9}


def test_a_node_event_is_about_the_node() -> None:
    sender = FakeSender()
    Lifecycle(sender, "n1", "ns").event(EventKind.NODE_JOINED)
    (sent,) = sender.sent
    headers = dict(sent.headers)
    assert sent.key == headers["ce_subject"] == headers["ce_partitionkey"] == b"n1"
    assert decode_event(sent.value).model is None


def test_every_event_has_an_id_of_its_own() -> None:
    sender = FakeSender()
    lifecycle = Lifecycle(sender, "n1", "ns")
    for _ in range(3):
        lifecycle.event(EventKind.LOADED, ("echo", "1"))
    assert len({dict(sent.headers)["ce_id"] for sent in sender.sent}) == 3
