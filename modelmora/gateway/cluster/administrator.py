"""Dead letters and the audit for callers: whole topics are read, and written to, for them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from modelmora.audit import reading
from modelmora.audit.auditor import Tell
from modelmora.audit.verifying import Report
from modelmora.deadletters.choosing import May, anything, meant, planned, words_of
from modelmora.deadletters.letters import SHOWN, DeadLetter, Letters, Wanted
from modelmora.deadletters.purging import purge
from modelmora.deadletters.replays import Replayer, lanes_there
from modelmora.errors import ConfigurationError, NotFound, Unreachable
from modelmora.gateway.caller import caller
from modelmora.gateway.cluster.administering import (
    MOST_AT_ONCE,
    MOST_SHOWN,
    Meant,
    Purged,
    Replayed,
)
from modelmora.gateway.cluster.looks import Look, Looks
from modelmora.kafka.events import event_record
from modelmora.kafka.reading.newest import Key, Page
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.writing.publisher import Answer, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, LifecycleEvent, Parameter
from modelmora.settings import Settings
from modelmora.text import counted, shorten

TELL_S = 10.0
MOST_SEEN = 20_000
"""Letters that are kept in memory while it is found which of them are meant."""


class Administrator:
    """Implements `administering.Administering` over the topics."""

    def __init__(
        self, settings: Settings, audit: Tell, send: Callable[[Outgoing], None], gateway_id: str
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._send = send
        self._gateway_id = gateway_id
        self._looks = Looks(settings)
        self.stop = self._looks.stop

    async def letters(
        self, limit: int, wanted: Wanted, before: Key | None = None, may: May = anything
    ) -> Page[DeadLetter]:
        """The newest dead letters that are wanted, from `before` on back. Raises Refusal."""

        def work(look: Look) -> Page[DeadLetter]:
            takes = _both(wanted.takes, may)
            return self._letters(look).page(limit, takes, wanted.since, before)

        return await self._looks.look(work)

    async def letter(
        self, which: str, *, content: bool = False, may: May = anything
    ) -> list[tuple[DeadLetter, Record]]:
        """Those of a request id or place, the newest first. Raises Refusal."""

        def work(look: Look) -> list[tuple[DeadLetter, Record]]:
            letters = self._letters(look)
            found = letters.page(MOST_SHOWN, _both(letters.matches(which), may)).items
            if not found:
                raise NotFound(f"no dead letter of {shorten(which, SHOWN)}; see /dead-letters")
            read = [*letters.records(found)]
            return sorted(read, key=lambda each: each[0].time, reverse=True)

        found = await self._looks.look(work)
        for letter, _ in found if content else ():
            named = letter.model or None, letter.request_id or None
            self._audit("dlq show", caller.get(), model=named[0], request_id=named[1])
        return found

    async def replay(
        self, named: Meant, *, again: bool = False, dry_run: bool = False, may: May = anything
    ) -> Replayed:
        """Put letters back on their lanes; of a dry run what would be done. Raises Refusal."""
        tell = self._telling("dlq replay", named)

        def work(look: Look) -> Replayed:
            letters = self._letters(look)
            lanes = [*lanes_there(look, self._settings)]
            which = named.which, named.wanted

            def plan() -> Replayed:
                reruns, left = planned(letters, lanes, *which, again=again, may=_few(may))
                _bound(len(reruns))
                return Replayed(reruns, left)

            found = plan()
            if dry_run or not any(each.to for each in found.reruns):
                return found
            look.insist()
            tell(len(found.reruns))
            replayer = Replayer(self._settings, look, letters).open()
            # Others may have replayed some since.
            found = plan()
            replayer.write(found.reruns)
            return found

        return await self._looks.look(work)

    async def purge(self, named: Meant, *, dry_run: bool = False, may: May = anything) -> Purged:
        """Purge letters for good; of a dry run how many that would be. Raises Refusal."""
        tell = self._telling("dlq purge", named)

        def work(look: Look) -> Purged:
            letters = self._letters(look)
            found = meant(letters, named.which, named.wanted, _few(may)).letters
            if not found:
                raise NotFound("there are no dead letters to purge; see /dead-letters")
            _bound(len(found))
            if dry_run:
                return Purged(len(found))
            look.insist()
            tell(len(found))
            return Purged(len(found), purge(self._settings, letters, found))

        return await self._looks.look(work)

    async def audit(
        self,
        limit: int,
        wanted: reading.Wanted,
        since: int | None = None,
        before: Key | None = None,
    ) -> Page[reading.Entry]:
        """The newest records of the audit that are wanted. Raises Refusal."""

        def work(look: Look) -> Page[reading.Entry]:
            return reading.newest(self._settings, look, limit, wanted, since, before)

        return await self._looks.look(work)

    async def verify(self) -> Report:
        """Whether what lies on `audit` and `events` is what was told. Raises Refusal."""
        return await self._looks.look(partial(reading.verified, self._settings))

    def _letters(self, look: Look) -> Letters:
        return Letters(look, self._settings)

    def _telling(self, verb: str, named: Meant) -> Callable[[int], None]:
        """To be called in a thread, with how many letters it is about, before they are touched.

        Raises Unreachable where it cannot be told: nothing is to be done then.
        """
        who, loop = caller.get(), asyncio.get_running_loop()

        def tell(letters: int) -> None:
            message = words_of(named.which, named.wanted)
            telling = self._tell(verb, who, message, letters)
            asyncio.run_coroutine_threadsafe(telling, loop).result(2 * TELL_S)

        return tell

    async def _tell(self, verb: str, who: str, message: str, letters: int) -> None:
        self._audit(verb, who, reason=f"{message}, {counted(letters, 'letter')}")
        facts: dict[str, Parameter] = {"verb": verb, "principal": who, "message": message}
        facts["letters"] = letters
        now_ms, kind = time.time_ns() // 1_000_000, EventKind.ADMINISTERED
        event = LifecycleEvent(str(uuid.uuid4()), kind, self._gateway_id, now_ms, None, None, facts)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self._send(event_record(event, self._settings.namespace, "gateways", done))
        try:
            answer: Any = await asyncio.wait_for(answered, TELL_S)
        except TimeoutError:
            answer = None
        if not isinstance(answer, Written):
            raise Unreachable("the broker does not take the record of this; nothing was done")


def _both(one: May, other: May) -> May:
    return lambda letter: one(letter) and other(letter)


def _few(may: May) -> May:
    """The same, of so many letters that they can be kept in memory."""
    seen = 0

    def takes(letter: DeadLetter) -> bool:
        nonlocal seen
        if not may(letter):
            return False
        seen += 1
        if seen > MOST_SEEN:
            raise _too_many(f"more than {MOST_SEEN}")
        return True

    return takes


def _bound(count: int) -> None:
    if count > MOST_AT_ONCE:
        raise _too_many(str(count))


def _too_many(count: str) -> ConfigurationError:
    return ConfigurationError(
        f"{count} letters are meant, and a call takes {MOST_AT_ONCE}; name fewer, by `code`, "
        "`model` or a time, or run `modelmora dlq`"
    )
