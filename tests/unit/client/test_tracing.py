"""The client goes on with the trace of its caller."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span

from modelmora.client import AsyncClient, Client, tracing
from modelmora.client.kafka.asked import Asked
from modelmora.client.tracing import current
from modelmora.errors import Invalid
from modelmora.messages.traceparent import ids_of, is_sampled
from modelmora.settings import Settings
from tests.unit.client.doubles import Gateway

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_calls_of_a_plain_program_go_on_with_its_trace(one: Gateway) -> None:
    """They are made in another thread."""
    with Client(one.address) as client:
        with tracing(TRACE):
            client.infer("echo", ["a"])
            list(client.stream("echo", ["a"]))
            client.submit("echo", ["a"])
        client.infer("echo", ["a"])
    traces = [ask.traceparent for ask in one.hall.asks]
    assert traces[:3] == [TRACE] * 3
    assert traces[3] != TRACE


async def test_calls_go_on_with_the_span_of_opentelemetry_in_which_they_are_made(
    one: Gateway,
) -> None:
    span = TracerProvider().get_tracer("caller").start_span("work")
    async with AsyncClient(one.address) as client:
        with use_span(span):
            await client.infer("echo", ["a"])
            with tracing(TRACE):
                await client.infer("echo", ["a"])
    context = span.get_span_context()
    first, second = (ask.traceparent for ask in one.hall.asks)
    assert ids_of(first) == (context.trace_id, context.span_id)
    assert is_sampled(first)
    assert second == TRACE


def test_a_record_goes_on_with_the_trace_too() -> None:
    with tracing(TRACE):
        asked = Asked.of("r", "m", ["x"], {"headers": {"x-cohort": "a"}})
    headers = asked.record(Settings()).headers
    assert headers == (("x-cohort", b"a"), ("traceparent", TRACE.encode()))


@pytest.mark.parametrize("text", ["", TRACE.upper(), TRACE + "\n", "00-0-0-00", f"00-{'0' * 32}"])
def test_what_names_no_span_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^traceparent: .* are needed"), tracing(text):
        pass


def test_a_trace_ends_with_its_block() -> None:
    with pytest.raises(KeyError), tracing(TRACE):
        raise KeyError
    assert not current()


def test_a_program_without_opentelemetry_loads_none() -> None:
    code = (
        "import sys, modelmora.client\n"
        "from modelmora.client.tracing import current\n"
        "assert current() == ''\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
