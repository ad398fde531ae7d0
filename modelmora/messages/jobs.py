"""What is kept of a job for longer than its content."""

from __future__ import annotations

from dataclasses import dataclass

from modelmora.messages.inference import InferenceResult, ResultHead, Status


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job was written (`status` None), or has ended; `time` in Unix ms.

    `code` is the stable code of its error as text: nodes may know more codes than who reads.
    """

    request_id: str
    principal: str
    model: str
    time: int
    status: Status | None = None
    version: str = ""
    code: str | None = None
    message: str = ""
    run: int = 1

    @classmethod
    def ended(cls, result: ResultHead | InferenceResult, principal: str, time: int) -> JobRecord:
        """That it has ended so."""
        error = result.error
        return cls(
            result.request_id,
            principal,
            result.model,
            time,
            result.status,
            result.version,
            error.code.value if error else None,
            error.message if error else "",
            result.run,
        )
