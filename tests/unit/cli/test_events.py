"""Events as CloudEvents attributes and facts."""

from __future__ import annotations

from modelmora.cli.events import as_json, facts_line
from modelmora.messages import EventKind, LifecycleEvent
from modelmora.wire import encode_event
from tests.unit.cli.records import record


def test_an_event_with_its_attributes() -> None:
    event = LifecycleEvent(
        "id-1", EventKind.UNLOADED, "node-a", 5, "m", "1", {"freed_bytes": 34_000_000, "x": 0.5}
    )
    headers = {"ce_id": "id-1", "ce_type": "modelmora.unloaded", "ce_source": "/ns/nodes/a"}
    told = as_json(record("ns.events", encode_event(event), headers))
    assert told["kind"] == "unloaded"
    assert (told["id"], told["type"], told["source"]) == tuple(headers.values())
    assert (told["model"], told["version"], told["node"]) == ("m", "1", "node-a")
    assert told["facts"] == {"freed_bytes": 34_000_000, "x": 0.5}


def test_a_record_that_is_no_event_says_so() -> None:
    assert "fault" in as_json(record("ns.events", b"nonsense"))


def test_facts_read_well() -> None:
    facts = {"freed_bytes": 34_000_000, "ms": 12.50, "ok": True, "names": ("a", "b"), "n": None}
    assert facts_line(facts) == "freed_bytes=34MB ms=12.5 ok=True names=a,b"
