"""Events as CloudEvents attributes and facts."""

from __future__ import annotations

from modelmora.cli.cluster.events import as_json
from modelmora.messages import FACTS, EventKind, LifecycleEvent
from modelmora.text import facts_line
from modelmora.wire import encode_event
from tests.facts import PLAIN, UNITS
from tests.unit.cli.records import record

TEXTS = {
    "task", "code", "message", "reason", "what", "topic", "was", "state", "verb", "sandbox",
    "former", "device", "cause", "principal", "writer", "digest", "public_key", "signature",
    "route", "former_route", "canary", "baseline",
}  # fmt: skip


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
    facts = {"freed_bytes": 34_000_000, "load_ms": 186_490, "ok": True, "names": ("a", "b")}
    assert facts_line(facts) == "freed=34MB load=3min6s ok=yes names=a,b"
    facts = {"returned_share": 0.998, "rate": 12.50, "off": False, "n": None, "cores": 2}
    assert facts_line(facts) == "returned=99.8% rate=12.5 off=no cores=2"


def test_since_when_a_change_counts_is_a_time_and_no_span() -> None:
    assert facts_line({"since_ms": 1_796_040_000_000}).startswith("since=2026-11-30T")
    assert facts_line({"since_ms": 10**30}) == f"since={10**30}"


def test_every_measure_that_is_written_has_a_unit_that_is_shown() -> None:
    numbers = {name for names in FACTS.values() for name in names} - TEXTS - PLAIN
    assert all(name.endswith(UNITS) for name in numbers)
    for name in numbers:
        assert facts_line({name: 0.5}) != f"{name}=0.5" or name.endswith(("_offset", "_offsets"))
