"""What fits one record, so that a request whose outputs never could is refused before computing."""

from __future__ import annotations

from modelmora.errors import Code, RequestError
from modelmora.text import size

RECORD_BYTES = 2 << 20
"""The largest record on the topics of requests and results."""
MOST_RESULT_BYTES = RECORD_BYTES - (4 << 10)
"""What surely fits a record, with its key and headers."""
MOST_INLINE = RECORD_BYTES - (12 << 10)
"""The most that outputs may have in a record, beside ids, settings, timings and headers."""
OUTPUT_BYTES = 256 << 20
"""The most that a child gives as the outputs of one request; what no record takes becomes objects.
"""
_AROUND_OUTPUTS = 4 << 10
"""Left for what stands around them: the name and shape of a tensor."""


def inputs_that_fit(row_bytes: int, most: int = OUTPUT_BYTES) -> int:
    """How many inputs have their outputs in one answer of `most` bytes, at `row_bytes` for each."""
    return max(1, (most - _AROUND_OUTPUTS) // row_bytes)


def check_inputs(count: int, most: int | None) -> None:
    """Raises RequestError (too_large) where the outputs of so many inputs fit no answer.

    `most` is None where nobody knows.
    """
    if most is not None and count > most:
        raise RequestError(
            Code.TOO_LARGE,
            f"{count} inputs are too many for one answer, at most {most} of this model's fit; "
            "send several requests",
        )


def outputs_too_large(most: int) -> RequestError:
    """What ends a request whose outputs, once computed, have more than `most` bytes."""
    return RequestError(
        Code.TOO_LARGE,
        f"its outputs are larger than an answer may be ({size(most)}); send it in parts",
    )
