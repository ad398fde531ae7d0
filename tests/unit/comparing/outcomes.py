"""Outcomes by what they hold, for those who compare them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from modelmora.errors import Code
from modelmora.messages import (
    Content,
    ErrorInfo,
    InferenceResult,
    Source,
    Tensor,
    Timings,
    outcome_status,
)
from modelmora.messages.inference import Status
from modelmora.wire.tensors import framed

SOURCE = Source("m.requests.normal", 0, 7)


def outcome(
    *outputs: Content, ms: float = 10.0, version: str = "1", **told: Any
) -> InferenceResult:
    given: dict[str, Any] = {"request_id": "r", "status": Status.COMPLETED, **told}
    return InferenceResult(
        model="m",
        version=version,
        source=SOURCE,
        timings=Timings(inference_ms=ms),
        outputs=outputs,
        **given,
    )


def failed(code: Code, **told: Any) -> InferenceResult:
    error = ErrorInfo(code, "it did not work")
    return outcome(status=outcome_status(code), error=error, **told)


def numbers(name: str, rows: Sequence[Sequence[float]]) -> Tensor:
    flat = [each for row in rows for each in row]
    return Tensor(name, "FP32", (len(rows), len(rows[0])), struct.pack(f"<{len(flat)}f", *flat))


def vectors(*rows: Sequence[float]) -> Tensor:
    return numbers("embedding", rows)


def scores(*each: float) -> Tensor:
    return Tensor("scores", "FP32", (len(each),), struct.pack(f"<{len(each)}f", *each))


def classes(*rows: dict[str, float]) -> tuple[Tensor, Tensor]:
    """Labels and scores of each input, the best first."""
    labels = b"".join(framed(label.encode()) for row in rows for label in row)
    return (
        numbers("scores", [[*row.values()] for row in rows]),
        Tensor("labels", "BYTES", (len(rows), len(rows[0])), labels),
    )
