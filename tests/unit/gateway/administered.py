"""Dead letters and an audit without topics, for a hall that has none."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelmora.audit import reading
from modelmora.audit.verifying import Fault, Finding, Report, Writer
from modelmora.deadletters.choosing import May, anything
from modelmora.deadletters.letters import DeadLetter, Wanted
from modelmora.deadletters.replays import Rerun
from modelmora.errors import Code
from modelmora.gateway.cluster.administering import Meant, Purged, Replayed
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.reading.newest import Key, Newest, Page
from modelmora.kafka.reading.reader import Record
from modelmora.messages import AuditEvent, Decision, InferenceRequest
from modelmora.web.problems import DoorCode
from modelmora.wire import encode_request

SECRET = "what the caller has sent"
LANE = "ns.requests.normal"


def letter_of(request_id: str, model: str, offset: int) -> tuple[DeadLetter, Record]:
    """A dead letter of such a request."""
    value = encode_request(InferenceRequest(request_id, model, (SECRET,)))
    headers = {
        "own": b"kept",
        "__connect.errors.topic": LANE.encode(),
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"7",
        "__connect.errors.exception.message": b"it died",
        "modelmora-error-code": str(Code.WORKER_CRASH).encode(),
    }
    place = "ns.dead-letters", 0, offset
    record = Record(*place, 1000 + offset, model.encode(), value, tuple(headers.items()))
    return DeadLetter.of(record), record


def event_of(sequence: int, verb: str, decision: Decision) -> AuditEvent:
    return AuditEvent("gw/1", sequence, b"", 1000 + sequence, "alice", verb, decision, "echo")


@dataclass
class FakeAdministration:
    """Implements `administering.Administering`: letters and records in memory."""

    there: list[tuple[DeadLetter, Record]] = field(
        default_factory=lambda: [
            letter_of("my-job", "echo", 0),
            letter_of("others", "other", 1),
            letter_of("my-job", "echo", 2),
        ]
    )
    records: list[AuditEvent] = field(
        default_factory=lambda: [
            event_of(0, "load", Decision.ALLOWED),
            event_of(1, "infer", Decision.DENIED),
            event_of(2, "load", Decision.DENIED),
        ]
    )
    findings: list[Finding] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """The places of letters that were replayed or purged in earnest."""

    async def letters(
        self, limit: int, wanted: Wanted, before: Key | None = None, may: May = anything
    ) -> Page[DeadLetter]:
        found = Newest[DeadLetter](limit + 1, before)
        for letter, _ in self.there:
            if wanted.takes(letter) and may(letter):
                found.take((letter.time, *letter.place[1:]), letter)
        return found.page(limit, lambda _: True)

    async def letter(
        self, which: str, *, content: bool = False, may: May = anything
    ) -> list[tuple[DeadLetter, Record]]:
        found = [each for each in self.there if each[0].request_id == which and may(each[0])]
        if not found:
            raise Refusal(DoorCode.NOT_FOUND, "there is no such letter")
        return found[::-1]

    async def replay(
        self, meant: Meant, *, again: bool = False, dry_run: bool = False, may: May = anything
    ) -> Replayed:
        found = self._meant(meant, may)
        reruns = [Rerun([each], 2, LANE if dry_run else f"{LANE}:0:9") for each in found]
        if not dry_run:
            self.done += [f"replay {each.place[2]}" for each in found]
        return Replayed(reruns, int(again))

    async def purge(self, meant: Meant, *, dry_run: bool = False, may: May = anything) -> Purged:
        found = self._meant(meant, may)
        if not dry_run:
            self.done += [f"purge {each.place[2]}" for each in found]
        return Purged(len(found), 0 if dry_run else 1)

    def _meant(self, meant: Meant, may: May) -> list[DeadLetter]:
        found = [
            letter
            for letter, _ in self.there
            if may(letter)
            and (
                letter.request_id in meant.which or (not meant.which and meant.wanted.takes(letter))
            )
        ]
        if not found:
            raise Refusal(DoorCode.NOT_FOUND, "there are none")
        return found

    async def audit(
        self,
        limit: int,
        wanted: reading.Wanted,
        since: int | None = None,
        before: Key | None = None,
    ) -> Page[reading.Entry]:
        found = Newest[reading.Entry](limit + 1, before)
        for event in self.records:
            if wanted.takes(event) and event.time >= (since or 0):
                entry = reading.Entry(f"ns.audit:0:{event.sequence}", event)
                found.take((event.time, 0, event.sequence), entry)
        return found.page(limit, lambda _: True)

    async def verify(self) -> Report:
        report = Report(records=len(self.records), anchors=1, findings=self.findings)
        report.writers["gw/1"] = Writer("gw/1", b"\1" * 32, 0, 0, "ns.audit:0:0", last=2, heads=1)
        return report


BROKEN = Finding(Fault.MISSING, "ns.audit:0:1", "gw/1", "record 1 is missing")
