"""The gateway's records lie where the registry places them, and say whose they are."""

from __future__ import annotations

import json
from dataclasses import replace

from modelmora.access.signing import Signer, Verifier
from modelmora.gateway.calls.requests import Requests
from modelmora.gateway.hall import Ask
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.topics import lane_topics
from modelmora.messages import Lane, RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.routes import route_record
from modelmora.settings import Settings
from modelmora.settings.routes import Route
from modelmora.wire import content_digest, decode_request_head, new_request_id, place_of

HOT = RegistryRecord(RegistryKind.MODEL, "hot", "1", "echo", "builtin:echo", "w")


def test_a_spread_model_lies_on_the_partition_of_each_id() -> None:
    settings, state = Settings(bootstrap_servers="localhost:1"), Registry()
    hot = state.settled(replace(HOT, details=json.dumps({"spread": 3})), 0)
    state.take(key_of(hot), hot, 0)
    pulse = Pulse(settings, [])
    requests = Requests(settings, "gateway", state, pulse)
    request_id = new_request_id()
    # Nobody has told yet how many partitions there are.
    assert requests.record(request_id, Ask("rest", "hot", ("x",))).partition is None
    pulse.shapes = {topic: Shape("id", 12) for topic in lane_topics(settings)}
    for model in ("hot", "hot@1"):
        record = requests.record(request_id, Ask("rest", model, ("x",)))
        assert record.partition == place_of("hot", request_id, 3, 12)
        assert record.key == b"hot"
    assert requests.record(request_id, Ask("rest", "other", ("x",))).partition is None


def test_of_a_callers_headers_those_go_along_at_which_the_route_looks() -> None:
    settings, state = Settings(bootstrap_servers="localhost:1"), Registry()
    rule = {"header": "x-cohort", "version": "1"}
    route = Route.model_validate({"weights": {"1": 1}, "sticky": "header:x-user", "rules": [rule]})
    told = state.settled(route_record("hot", route, "w"), 0)
    state.take(key_of(told), told, 0)
    requests = Requests(settings, "gateway", state, Pulse(settings, []))
    headers = [
        (b"authorization", b"Bearer mm_secret"),
        (b"x-cohort", "bäta".encode("latin-1")),
        (b"x-cohort", b"another"),
        (b"x-user", b"u" * 999),
        (b"x-other", b"o"),
    ]
    ask = Ask("rest", "hot@1", ("x",), headers=headers)
    assert "secret" not in repr(ask)
    record = requests.record(new_request_id(), ask)
    looked_at = [each for each in record.headers if each[0].startswith("x-")]
    assert looked_at == [("x-cohort", "bäta".encode()), ("x-user", b"u" * 256)]
    assert b"secret" not in b"".join(value or b"" for _, value in record.headers)
    metadata = (("x-user", "me"), ("x-bin", b"x"))
    record = requests.record(new_request_id(), Ask("grpc", "hot", ("x",), headers=metadata))
    assert ("x-user", b"me") in record.headers
    other = requests.record(new_request_id(), Ask("rest", "other", ("x",), headers=headers))
    assert not [name for name, _ in other.headers if name.startswith("x-")]


def test_a_request_is_signed_as_that_of_who_asks_it() -> None:
    settings, secret = Settings(bootstrap_servers="localhost:1"), b"s" * 32
    signed = Requests(settings, "gateway", Registry(), Pulse(settings, []), Signer(secret))
    ask = Ask("rest", "m", ("x",), lane=Lane.HIGH, timeout_ms=5, principal="alice")
    record = signed.record("r1", ask)
    value = record.value or b""
    head = decode_request_head(value)

    def content(principal: str) -> str:
        return content_digest(principal, head, value)

    later = (*record.headers, ("modelmora-reply-partition", b"1"), ("modelmora-job", b"1"))
    whose = Verifier([secret]).of_request(later, head, Lane.HIGH, content)
    assert whose == ("alice", False)
    assert Verifier([secret]).of_request(later, head, Lane.LOW, content).forged
    plain = Requests(settings, "gateway", Registry(), Pulse(settings, []))
    names = {name for name, _ in plain.record("r1", ask).headers}
    assert "modelmora-signature" not in names
