"""The rules of an id that comes again: when it is new, and how it ends otherwise; pure."""

from __future__ import annotations

from modelmora.agents.stored import Outcome
from modelmora.errors import Code, RequestError
from modelmora.messages import is_final
from modelmora.wire import NEAR_MS, SKEW_MS


def is_new(made_ms: int | None, asked_ms: int, known_ms: float) -> bool:
    """Whether an id that was not heard of need not be looked for; all in Unix ms.

    `made_ms` is its own time, `asked_ms` the broker's at its append, and `known_ms` since when
    all ids that were asked are remembered.

    (1) An id without a time, or of a time to come, says nothing: it counts as new.
    (2) One that is long ago may have been asked anywhere.
    (3) Else it was not asked before it was made, and nothing that was asked since was missed.
    """
    # (1)
    if made_ms is None or made_ms > asked_ms + SKEW_MS:
        return True
    # (2)
    if made_ms < asked_ms - NEAR_MS:
        return False
    # (3)
    return made_ms - SKEW_MS >= known_ms


def run_of(stored: Outcome | None, content: str, asked_ms: int, *, cancelled: bool) -> int | None:
    """Which run of its id a request is; None: it ends as the stored outcome says.

    Raises RequestError (`id_reused`).

    (1) The id has no outcome.
    (2) It is that of another request.
    (3) It stands for the id.
    (4) It does not stand (expired, busy): nor does this one, if it was asked before that was known,
        and was taken back as well where that one was.
    """
    # (1)
    if stored is None:
        return 1
    # (2)
    if stored.content != content:
        raise RequestError(Code.ID_REUSED, "this id is that of another request; take a new UUID")
    # (3)
    error = stored.result.error
    if error is None or is_final(error):
        return None
    # (4)
    shares = cancelled or error.code is not Code.CANCELLED
    return None if shares and asked_ms <= stored.written_ms else stored.result.run + 1
