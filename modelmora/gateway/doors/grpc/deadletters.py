"""The service of protos/modelmora/rpc/v1/deadletters.proto: gRPC to dead letters and back."""

from __future__ import annotations

from typing import Any

import grpc
import orjson

from modelmora.deadletters.contents import told_request
from modelmora.deadletters.letters import DeadLetter, place_text
from modelmora.gateway.doors.grpc.calls import Call, decoded, unary
from modelmora.gateway.hall import Hall
from modelmora.gateway.queries import cursor_of, letters_asked, meant
from modelmora.kafka.reading.reader import Record
from modelmora.rpc.v1 import deadletters_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["DeadLetterService"].full_name


class DeadLetterService:
    """Dead letters."""

    def __init__(self, hall: Hall) -> None:
        self._letters = hall.administration

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods = {
            "List": self._list,
            "Get": self._get,
            "Replay": self._replay,
            "Purge": self._purge,
        }
        handlers = {name: unary(method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _list(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.ListDeadLettersRequest, message)
        wanted, part = letters_asked(given(asked, "code", "model") | page_of(asked))
        page = await self._letters.letters(part.limit, wanted, part.before)
        letters, token = map(_letter, page.items), cursor_of(page.before)
        return pb.ListDeadLettersResponse(dead_letters=letters, next_page_token=token or "")

    async def _get(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.GetDeadLettersRequest, message)
        found = await self._letters.letter(asked.which, content=asked.content)
        told = [_whole(letter, record, content=asked.content) for letter, record in found]
        return pb.GetDeadLettersResponse(dead_letters=told)

    async def _replay(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.ReplayDeadLettersRequest, message)
        named = meant(asked.which, given(asked, "code", "model", "since"), every=asked.all)
        found = await self._letters.replay(named, again=asked.again, dry_run=asked.dry_run)
        told = [
            pb.Rerun(**{name: value for name, value in each.as_json().items() if value})
            for each in found.reruns
        ]
        return pb.ReplayDeadLettersResponse(reruns=told, left_out=found.left_out)

    async def _purge(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.PurgeDeadLettersRequest, message)
        named = meant(asked.which, given(asked, "code", "model", "before"), every=asked.all)
        found = await self._letters.purge(named, dry_run=asked.dry_run)
        return pb.PurgeDeadLettersResponse(purged=found.purged, removed=found.removed)


def given(asked: Any, *names: str) -> dict[str, str]:
    """The fields of a message that say something."""
    return {name: text for name in names if (text := getattr(asked, name))}


def page_of(asked: Any) -> dict[str, str]:
    """The part of a list that a message asks for, in the words of REST."""
    told = given(asked, "since", "before")
    told |= {"limit": str(asked.page_size)} if asked.page_size else {}
    return told | ({"cursor": asked.page_token} if asked.page_token else {})


def _letter(letter: DeadLetter) -> Any:
    replay = letter.replay
    told = pb.Replay(run=replay.run, to=replay.to, time_ms=replay.time) if replay else None
    return pb.DeadLetter(
        place=place_text(letter.place),
        time_ms=letter.time,
        request_id=letter.request_id,
        model=letter.model,
        run=letter.run,
        code=letter.code,
        reason=letter.reason,
        source=place_text(letter.source),
        attempt=letter.attempt,
        worker_exit_code=letter.worker_exit_code,
        size_bytes=letter.bytes,
        cut=letter.cut,
        replayed=told,
    )


def _whole(letter: DeadLetter, record: Record, *, content: bool) -> Any:
    told = _letter(letter)
    for name, value in record.headers:
        told.headers.add(name=name, value=(value or b"").decode("utf-8", "replace"))
    if content:
        told.request = orjson.dumps(told_request(record.plain)).decode()
    return told
