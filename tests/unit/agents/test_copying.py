"""Requests as they lie on their lanes, and the copies that are made of them."""

from __future__ import annotations

import json

import pytest

from modelmora.access.signing import Signer, Verifier
from modelmora.agents.shadows.copying import Copying, Forbids
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import InferenceRequest, Lane
from modelmora.messages.headers import COMPARISON, PRINCIPAL, SHADOW_OF, header_of, principal_of
from modelmora.routing import Steps
from modelmora.serving import CopyOf
from modelmora.settings import Limits, Settings
from modelmora.settings.routes import Route
from modelmora.testing.fakes import FakeRecord
from modelmora.wire import content_digest, decode_request, decode_request_head, encode_request
from modelmora.wire.ids import shadow_id
from tests.unit.agents.test_whose import SECRET, Headers, signed

ROUTES: dict[str, Steps] = {
    "echo": ((0, Route(weights={"1": 1}, shadow={"2": 100, "3": 100})),),
    "plain": ((0, Route(weights={"1": 1})),),
}
ASKED = InferenceRequest(
    "r1", "echo", ("a text", b"\x00"), parameters={"x": 1}, timeout_ms=5000, progress=True
)
SETTINGS = Settings(namespace="ns", limits=Limits(request_bytes=5000))


def copying(secret: bytes | None = None, forbids: Forbids = lambda *_: None) -> Copying:
    verifier, signer = Verifier([secret] if secret else ()), Signer(secret) if secret else None
    return Copying(SETTINGS, verifier, signer, forbids)


def copies(
    made: Copying, request: InferenceRequest = ASKED, headers: Headers = ()
) -> list[Outgoing]:
    record = FakeRecord("ns.requests.normal", value=encode_request(request), headers=headers)
    return made.of(record, ROUTES)


def test_a_copy_asks_the_same_of_its_version_and_to_be_told_nothing() -> None:
    job: Headers = (("modelmora-job", b"1"), ("modelmora-gateway", b"g"), ("x-cohort", b"beta"))
    reply: Headers = (("kafka_replyTopic", b"replies"), ("traceparent", b"00-1-2-01"))
    found = copies(copying(), headers=(*job, *reply, (PRINCIPAL, b"alice")))
    assert [each.topic for each in found] == ["ns.shadow"] * 2
    for version, copy in zip(("2", "3"), found, strict=True):
        asked = decode_request(copy.value)
        assert asked.request_id == shadow_id("r1", version)
        assert (asked.model, asked.progress) == (f"echo@{version}", False)
        assert (asked.inputs, asked.parameters, asked.timeout_ms) == (
            ASKED.inputs, ASKED.parameters, 5000,
        )  # fmt: skip
        assert copy.key == b"echo"
        assert copy.optional
        assert dict(copy.headers) == {
            SHADOW_OF: b"r1", COMPARISON: b"live", PRINCIPAL: b"alice", "traceparent": b"00-1-2-01",
        }  # fmt: skip


def test_two_versions_have_copies_of_different_ids() -> None:
    assert shadow_id("r1", "2") != shadow_id("r1", "3")
    assert shadow_id("r1", "2") == shadow_id("r1", "2")


@pytest.mark.parametrize(
    "request_",
    [
        InferenceRequest("r1", "plain", ("a",)),
        InferenceRequest("r1", "other", ("a",)),
        InferenceRequest("r1", "echo@1", ("a",)),
        InferenceRequest("r1", "", ("a",), task="echo"),
        InferenceRequest("", "echo", ("a",)),
        InferenceRequest("r1", "echo", ("a" * 5000,)),
    ],
)
def test_what_no_route_shadows_is_not_copied(request_: InferenceRequest) -> None:
    assert copies(copying(), request_) == []


@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01 nothing", b"{", b'{"model": 5}'])
def test_what_is_no_request_has_no_copies(value: bytes | None) -> None:
    assert copying().of(FakeRecord("ns.requests.normal", value=value), ROUTES) == []


@pytest.mark.parametrize("name", ["modelmora-run", "modelmora-handed-on"])
def test_what_lies_there_again_was_copied_before(name: str) -> None:
    assert copies(copying(), headers=((name, b"2"),)) == []


def test_json_is_copied_too() -> None:
    value = json.dumps({"model": "echo", "inputs": ["a"], "request_id": "r9"}).encode()
    found = copying().of(FakeRecord("ns.requests.normal", value=value), ROUTES)
    assert [decode_request(each.value).inputs for each in found] == [("a",)] * 2
    assert header_of(found[0].headers, SHADOW_OF) == b"r9"


def test_what_may_not_be_asked_is_not_copied() -> None:
    asked: list[str] = []

    def forbids(request: object, key: tuple[str, str]) -> str | None:
        asked.append("@".join(key))
        return "no" if key[1] == "3" else None

    found = copies(copying(forbids=forbids))
    assert [decode_request(each.value).model for each in found] == ["echo@2"]
    assert asked == ["echo@2", "echo@3"]


def test_a_copy_is_signed_as_its_principal_and_as_made_by_a_node() -> None:
    record = signed(ASKED)
    given = FakeRecord("ns.requests.normal", value=record.value, headers=(*record.headers,))
    found = copying(SECRET).of(given, ROUTES)
    assert len(found) == 2
    for copy in found:
        head, verifier = decode_request_head(copy.value), Verifier([SECRET])

        def content(who: str, copy: Outgoing = copy) -> str:
            return content_digest(who, decode_request_head(copy.value), copy.value or b"")

        whose = verifier.of_request(copy.headers, head, Lane.LOW, content)
        assert whose == ("alice", False)
        assert verifier.was_copied(copy.headers, head.request_id)
    assert copying(b"t" * 32).of(given, ROUTES) == [], "forged, as far as is known there"


def test_who_proves_nothing_is_nobody_else_in_a_copy() -> None:
    (copy, _) = copies(copying(SECRET), headers=((PRINCIPAL, b"alice"),))
    head, verifier = decode_request_head(copy.value), Verifier([SECRET])
    assert principal_of(copy.headers) == "topic:alice"
    whose = verifier.of_request(copy.headers, head, Lane.LOW, lambda _: "")
    assert whose == ("topic:alice", False)
    assert verifier.was_copied(copy.headers, head.request_id)


@pytest.mark.parametrize(
    ("comparison", "proved", "live"),
    [("live", True, True), ("live", False, False), ("c1", True, False)],
)
def test_only_a_nodes_own_copy_needs_no_right(comparison: str, proved: bool, live: bool) -> None:
    assert CopyOf("r1", comparison, proved).is_live is live
