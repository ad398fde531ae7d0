"""What fits one record, so that a request whose outputs never could is refused before computing."""

from __future__ import annotations

from modelmora.errors import Code, RequestError
from modelmora.text import size

RECORD_BYTES = 2 << 20
"""The largest record on the topics of requests and results."""
MOST_RESULT_BYTES = RECORD_BYTES - (4 << 10)
"""What surely fits a record, with its key and headers."""
_AROUND_OUTPUTS = 16 << 10
"""Left for the rest of a result: ids, settings, timings, headers."""


def inputs_that_fit(row_bytes: int) -> int:
    """How many inputs have their outputs in one result, at `row_bytes` for each."""
    return max(1, (RECORD_BYTES - _AROUND_OUTPUTS) // row_bytes)


def check_inputs(count: int, most: int | None) -> None:
    """Raises RequestError (too_large) where the outputs of so many inputs fit no result.

    `most` is None where nobody knows.
    """
    if most is not None and count > most:
        raise RequestError(
            Code.TOO_LARGE,
            f"{count} inputs are too many for one result, at most {most} of this model's fit; "
            "send several requests",
        )


def outputs_too_large() -> RequestError:
    """What ends a request whose outputs, once computed, fit no result."""
    most = size(RECORD_BYTES)
    return RequestError(
        Code.TOO_LARGE, f"its outputs are larger than a result may be ({most}); send it in parts"
    )
