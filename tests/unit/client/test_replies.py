"""What is a reply over Kafka: an outcome of what was asked, and not of another's by the same id."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord

from modelmora.access.signing import Signer, Verifier, key_text
from modelmora.client.kafka.asked import Asked, How
from modelmora.client.kafka.asking import AsyncReply, Waiting
from modelmora.errors import Invalid
from modelmora.kafka.writing.publisher import Record, Written
from modelmora.messages import InferenceResult, Lane, Source, Status
from modelmora.settings import Settings
from modelmora.wire import content_digest, decode_request_head, encode_result

SECRET = b"s" * 32
ALICE = Signer.of_key(key_text(SECRET, "alice"))
TOPIC = "modelmora.requests.normal"


def asked(signer: Signer | None = None, **how: Any) -> Record:
    one = Asked.of("r1", "echo", ["a"], cast("How", how))
    return one.record(Settings(), signer=signer)


async def is_of(record: Record, principal: str | None, *, offset: int = 9, **more: bytes) -> bool:
    """Whether an outcome that is told as this principal's is taken for that of the record."""

    async def nothing(_place: Any) -> Any:
        raise AssertionError

    reply = AsyncReply("r1", Waiting(1, nothing, str), record)
    reply.on_written(Written(0, 9, 1))
    headers = [] if principal is None else [("modelmora-principal", principal.encode())]
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    source = Source(TOPIC, 0, offset)
    result = InferenceResult("r1", Status.COMPLETED, "echo", "1", source)
    return reply.is_of(SimpleNamespace(headers=headers), result)


async def test_who_has_signed_is_told_nobody_elses_outcome() -> None:
    record = asked(ALICE)
    assert await is_of(record, "alice", offset=1)
    assert not await is_of(record, "topic:alice", offset=1)
    assert not await is_of(record, None, offset=1)
    assert await is_of(record, "topic:alice"), "nodes do not take its signature, and say so"
    assert not await is_of(record, "topic:alice", modelmora_read_at=b"0 1 t")


@pytest.mark.parametrize(("offset", "met"), [(9, True), (8, False)])
async def test_an_outcome_that_overtakes_the_acknowledgement_is_kept_in_mind(
    offset: int, met: bool
) -> None:
    """Told as somebody else's it is known by the request's place, which the broker tells later."""
    found = InferenceResult("r1", Status.FAILED, "echo", "1", Source(TOPIC, 0, offset))

    async def read(place: Any) -> InferenceResult:
        assert place == (3, 7)
        return found

    waiting = Waiting(1, read, str)
    reply = await waiting.enter("r1", 60, asked(ALICE))
    headers = [("modelmora-principal", b"topic:alice")]
    value = encode_result(found)
    told = SimpleNamespace(key=b"r1", value=value, headers=headers, partition=3, offset=7)
    waiting.take(cast("ConsumerRecord", told))
    assert not reply.done
    reply.on_written(Written(0, 9, 1))
    assert reply.done is met
    if met:
        assert await reply.result() == found
        assert not len(waiting)
    waiting.close()


@pytest.mark.parametrize(
    ("how", "principals"),
    [({"principal": "alice"}, ("alice", "topic:alice")), ({}, (None, "topic:unknown"))],
)
async def test_who_has_not_signed_is_told_what_they_are_taken_for(
    how: dict[str, Any], principals: tuple[str | None, ...]
) -> None:
    for each in principals:
        assert await is_of(asked(**how), each, offset=1)
    assert not await is_of(asked(**how), "bob", offset=1)


def test_a_key_of_one_principal_asks_as_that_one() -> None:
    record = asked(ALICE)
    value = record.value or b""
    head = decode_request_head(value)
    whose = Verifier([SECRET]).of_request(
        record.headers, head, Lane.NORMAL, lambda who: content_digest(who, head, value)
    )
    assert whose == ("alice", False)
    with pytest.raises(Invalid, match="that of alice"):
        asked(ALICE, principal="bob")


def test_with_the_clusters_secret_anybody_is_signed_for() -> None:
    for how, whose in (({}, b"local"), ({"principal": "bob"}, b"bob")):
        headers = dict(asked(Signer(SECRET), **how).headers)
        assert headers["modelmora-principal"] == whose
        assert headers["modelmora-signature"]
    assert "modelmora-signature" not in dict(asked(None, principal="bob").headers)
