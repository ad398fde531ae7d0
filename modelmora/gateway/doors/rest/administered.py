"""What `/dead-letters` and `/audit` take and answer: bodies, and their description for OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from modelmora.audit.verifying import Fault
from modelmora.gateway.cluster.administering import MOST_AT_ONCE, MOST_NAMED, MOST_SHOWN
from modelmora.gateway.doors.rest.registry.catalogue import parameter, problems, takes
from modelmora.gateway.queries import DECISIONS, FEW, MOST

SPAN = "a span (`30min`, `2h`, `7d`) or a time (`2026-01-31T12:00`)"
Names = Annotated[tuple[StrictStr, ...], Field(max_length=MOST_NAMED)]


class _Named(BaseModel):
    """Which letters; either `which`, or one at least of the other members."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    which: Names = Field((), description="Request ids, and places as the list shows them.")
    all: StrictBool = Field(False, description="All of them.")
    code: StrictStr | None = Field(None, description="Those with this error code.")
    model: StrictStr | None = Field(None, description="Those for this name or name@version.")
    dry_run: StrictBool = Field(False, description="Say what would be done, and do nothing.")


class ReplayBody(_Named):
    """What `POST /dead-letters/replay` takes."""

    since: StrictStr | None = Field(None, description=f"Those since then: {SPAN}.")
    again: StrictBool = Field(False, description="Those too that were replayed before.")


class PurgeBody(_Named):
    """What `POST /dead-letters/purge` takes."""

    before: StrictStr | None = Field(None, description=f"Those before then: {SPAN}.")


class ReplayTold(BaseModel):
    """How a letter was replayed last."""

    run: int
    to: str = Field(description="Where the record lies since, topic:partition:offset")
    time: str


class LetterTold(BaseModel):
    """A dead letter: what its headers say, and the head of what was sent."""

    place: str = Field(description="topic:partition:offset")
    time: str
    request_id: str | None = Field(description="Null where it cannot be read")
    model: str | None = Field(description="As it was asked for; a task where only that was")
    run: int
    code: str
    reason: str
    source: str | None = Field(description="Where the record was read, topic:partition:offset")
    attempt: int | None
    worker_exit_code: int | None
    key: str | None
    bytes: int
    cut: bool = Field(description="Only its beginning was kept")
    replayed: ReplayTold | None


class LetterPage(BaseModel):
    """The newest first; `next` is the cursor of the next page, null at the end."""

    dead_letters: list[LetterTold]
    next: str | None


class HeaderTold(BaseModel):
    """A header of a record."""

    name: str
    value: str | None


class LetterWhole(LetterTold):
    """A dead letter with its headers, and what was sent where that was asked for."""

    headers: list[HeaderTold]
    request: dict[str, Any] | None = Field(description="Long inputs in short")


class LettersWhole(BaseModel):
    """The dead letters of a request or place, the newest first."""

    dead_letters: list[LetterWhole]


class RerunTold(BaseModel):
    """What becomes of a letter."""

    place: str
    request_id: str | None
    run: int | None = Field(description="Its new run; null where it does not go back")
    to: str | None = Field(description="Where it lies now; of a dry run its topic")
    why: str | None = Field(description="Why it does not go back")


class Reruns(BaseModel):
    """What becomes of the letters; `left_out` were replayed before."""

    reruns: list[RerunTold]
    left_out: int


class PurgedTold(BaseModel):
    """How many letters are purged, and how many the broker has removed already."""

    purged: int
    removed: int


class AuditTold(BaseModel):
    """A record of the audit."""

    place: str = Field(description="topic:partition:offset")
    at: int = Field(description="Unix ms")
    time: str
    writer: str = Field(description="The process that tells it")
    sequence: int = Field(description="How many it had told before")
    principal: str
    verb: str
    model: str | None
    decision: str = Field(description="`ALLOWED` or `DENIED`")
    reason: str | None
    request_id: str | None


class AuditPage(BaseModel):
    """The newest first; `next` is the cursor of the next page, null at the end."""

    records: list[AuditTold]
    next: str | None


class FindingTold(BaseModel):
    """What is wrong, and where."""

    fault: Fault
    place: str
    writer: str | None
    message: str


class WriterTold(BaseModel):
    """What was found of one process."""

    writer: str
    public_key: str
    first: int
    last: int
    heads: int = Field(description="How often `events` tells how far it has come")
    ended: bool = Field(description="It has told its end; else it runs, or was killed")
    lost: list[str] = Field(description="What it says itself that it could not write")


class ReportTold(BaseModel):
    """Whether what lies there is what was told."""

    holds: bool
    records: int
    repeated: int = Field(description="Records that lie there twice; that is no fault")
    heads: int
    faults: int = Field(description="How many findings there are")
    findings: list[FindingTold] = Field(description="The first 100")
    writers: list[WriterTold] = Field(description="The first 1,000")


_TEXT = {"type": "string"}
_PAGE = [
    parameter("since", "query", f"Only what was written since then: {SPAN}.", _TEXT),
    parameter("before", "query", "Only what was written before then, in the same forms.", _TEXT),
    parameter(
        "limit",
        "query",
        "As many at most.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": FEW},
    ),
    parameter("cursor", "query", "`next` of the page before.", _TEXT),
]
_LOOK = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_CHANGE = (
    *_LOOK,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_TAGS = ["dead letters"]
LETTERS: dict[str, Any] = {
    "summary": "List dead letters",
    "description": "Records that can never become a result, of the models for which the caller "
    "has the right `dlq.read`. Never what was sent. A page may be shorter than `limit` and still "
    "have a next one.",
    "response_description": "A page of them.",
    "response_model": LetterPage,
    "responses": problems(*_LOOK),
    "openapi_extra": {
        "parameters": [
            parameter("code", "query", "Only those with this error code.", _TEXT),
            parameter("model", "query", "Only those for this name or name@version.", _TEXT),
            *_PAGE,
        ]
    },
    "tags": _TAGS,
}
LETTER: dict[str, Any] = {
    "summary": "Read the dead letters of a request",
    "description": f"Or of a place; the newest {MOST_SHOWN}, with their headers. Needs `dlq.read`; "
    "to see what the caller sent, `admin` too.",
    "response_description": "Its dead letters.",
    "response_model": LettersWhole,
    "responses": problems(*_LOOK),
    "openapi_extra": {
        "parameters": [
            parameter(
                "which",
                "path",
                "A request id, the letter's place, or where the record was read.",
                _TEXT,
            ),
            parameter(
                "content",
                "query",
                "true: with what the caller sent, long inputs in short.",
                {"type": "boolean", "default": False},
            ),
        ]
    },
    "tags": _TAGS,
}
REPLAY: dict[str, Any] = {
    "summary": "Put dead letters back on their lanes",
    "description": "Each as the next run of its id, with the same bytes; it stays where it is and "
    f"is marked. {MOST_AT_ONCE} at most in one call. Needs `dlq.replay`.",
    "response_description": "What became of each.",
    "response_model": Reruns,
    "responses": problems(*_CHANGE),
    "openapi_extra": takes("ReplayBody", {"code": "worker_crash", "dry_run": True}),
    "tags": _TAGS,
}
PURGE: dict[str, Any] = {
    "summary": "Purge dead letters for good",
    "description": "Nobody sees or replays them any more; the broker removes them now or later. "
    f"{MOST_AT_ONCE} at most in one call. Needs `dlq.replay`.",
    "response_description": "How many.",
    "response_model": PurgedTold,
    "responses": problems(*_CHANGE),
    "openapi_extra": takes("PurgeBody", {"before": "3d", "dry_run": True}),
    "tags": _TAGS,
}
AUDIT: dict[str, Any] = {
    "summary": "List who did what",
    "description": "Or was not let. Needs `audit.read`.",
    "response_description": "A page of records.",
    "response_model": AuditPage,
    "responses": problems(*_LOOK),
    "openapi_extra": {
        "parameters": [
            parameter("principal", "query", "Only what it did.", _TEXT),
            parameter("verb", "query", "Only this, such as `load`.", _TEXT),
            parameter("model", "query", "Only with this model, whatever the version.", _TEXT),
            parameter("decision", "query", "Only this.", {"type": "string", "enum": [*DECISIONS]}),
            *_PAGE,
        ]
    },
    "tags": ["audit"],
}
VERIFY: dict[str, Any] = {
    "summary": "Verify the audit",
    "description": "Whether what lies on the topics `audit` and `events` is what was told: all of "
    "it is read, for at most a minute. Needs `audit.read`.",
    "response_description": "What was found.",
    "response_model": ReportTold,
    "responses": problems(*_LOOK),
    "tags": ["audit"],
}
