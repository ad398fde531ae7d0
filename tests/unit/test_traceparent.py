"""The header that names a span."""

from __future__ import annotations

import pytest

from modelmora.messages.traceparent import (
    ids_of,
    is_sampled,
    is_traceparent,
    is_unsampled,
    new_trace,
    sibling,
)

TRACE = f"00-{'a' * 32}-{'b' * 16}"


@pytest.mark.parametrize(
    ("text", "sampled", "unsampled"),
    [
        (f"{TRACE}-01", True, False),
        (f"{TRACE}-03", True, False),
        (f"{TRACE}-00", False, True),
        (f"{TRACE}-02", False, True),
        (f"{TRACE}-0", False, False),
        (f"{TRACE}-01\n", False, False),
        (f"00-{'0' * 32}-{'b' * 16}-01", False, False),
        (f"00-{'A' * 32}-{'b' * 16}-01", False, False),
        (f"01-{'a' * 32}-{'b' * 16}-01", False, False),
        ("", False, False),
    ],
)
def test_whether_a_span_is_recorded(text: str, sampled: bool, unsampled: bool) -> None:
    assert (is_sampled(text), is_unsampled(text)) == (sampled, unsampled)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_sibling_is_another_span_of_the_trace_recorded_as_that_one(flags: str) -> None:
    other = sibling(text := f"{TRACE}-{flags}")
    assert is_traceparent(other)
    assert ids_of(other)[0] == ids_of(text)[0]
    assert ids_of(other)[1] != ids_of(text)[1]
    assert other[-2:] == flags


def test_a_new_trace_says_whether_it_is_recorded() -> None:
    assert is_sampled(new_trace(sampled=True))
    assert is_unsampled(new_trace(sampled=False))
