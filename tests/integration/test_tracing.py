"""One trace from the gateway over the topic and the node to the child, as a collector gets it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.topics import Topic
from tests.collectors import Collector, collecting
from tests.nodes import GatewayProcess, NodeProcess
from tests.programs import eventually

SAMPLED, UNSAMPLED = "01", "00"


class Traced:
    """A gateway and a node that tell a collector."""

    def __init__(self, collector: Collector, gateway: GatewayProcess, namespace: str) -> None:
        self.collector = collector
        self._namespace = namespace
        self._gateway = gateway

    def ask(self, model: str, **headers: str) -> httpx.Response:
        url = f"{self._gateway.http}/infer/{model}"
        return httpx.post(url, json={"inputs": "x"}, headers=headers, timeout=60)

    def topic(self, topic: Topic) -> str:
        return topic.full(self._namespace)

    def wait(self, trace: str, *names: str) -> None:
        eventually(lambda: set(names) <= set(self.collector.of(trace)), "the spans")


@pytest.fixture(scope="module")
def traced(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder: Path = tmp_path_factory.mktemp("tracing")
    servers, namespace = broker.bootstrap_servers, f"t{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        told = {"TRACING__ENDPOINT": collector.address}
        node = stack.enter_context(NodeProcess(servers, namespace, folder, settings=told))
        gateway = stack.enter_context(GatewayProcess(servers, namespace, folder, told))
        node.wait_ready()
        gateway.wait_ready()
        eventually(lambda: httpx.get(f"{gateway.http}/models").json()["models"], "a model")
        yield Traced(collector, gateway, namespace)


def test_a_trace_of_a_caller_is_one_from_gateway_to_child_and_back(traced: Traced) -> None:
    """Each span lies in the one that has caused it, as the conventions for messaging have it."""
    trace, caller = uuid.uuid4().hex, "b" * 16
    answer = traced.ask("echo", traceparent=f"00-{trace}-{caller}-{SAMPLED}")
    assert answer.status_code == 200, answer.text
    lane, results = traced.topic(Topic.NORMAL), traced.topic(Topic.RESULTS)
    sent, taken = f"send {lane}", f"process {lane}"
    told, heard = f"send {results}", f"process {results}"
    traced.wait(trace, "infer", sent, taken, "child", told, heard)
    spans = traced.collector.of(trace)
    assert {name: (span.service.removeprefix("modelmora-"), span.kind, span.parent)
            for name, span in spans.items() if name not in ("queue", "load")} == {
        "infer": ("gateway", "server", caller),
        sent: ("gateway", "producer", spans["infer"].id),
        taken: ("node", "consumer", spans[sent].id),
        "child": ("node", "internal", spans[taken].id),
        told: ("node", "producer", spans[taken].id),
        heard: ("gateway", "consumer", spans[told].id),
    }  # fmt: skip
    process, child = spans[taken], spans["child"]
    assert process.start_ns <= child.start_ns <= child.end_ns <= process.end_ns
    assert process.facts["modelmora.request_id"] == answer.json()["request_id"]
    place = ("messaging.destination.partition.id", "messaging.kafka.offset")
    assert [process.facts[name] for name in place] == [spans[sent].facts[name] for name in place]
    assert not any(span.failed for span in spans.values())


def test_who_began_a_trace_says_whether_it_is_recorded(traced: Traced) -> None:
    unsampled, sampled = uuid.uuid4().hex, uuid.uuid4().hex
    traced.ask("echo", traceparent=f"00-{unsampled}-{'b' * 16}-{UNSAMPLED}")
    traced.ask("echo", traceparent=f"00-{sampled}-{'b' * 16}-{SAMPLED}")
    traced.wait(sampled, "infer", f"process {traced.topic(Topic.NORMAL)}")
    assert not traced.collector.of(unsampled)


def test_a_trace_that_begins_here_has_no_parent_and_says_what_failed(traced: Traced) -> None:
    assert traced.ask("unheard").status_code == 404

    def told() -> bool:
        return any(span.facts.get("error.type") == "unknown_model" for span in collector.spans)

    collector = traced.collector
    eventually(told, "a span that failed")
    (span,) = [span for span in collector.spans if span.facts.get("error.type") == "unknown_model"]
    assert span.failed
    assert not span.parent


def test_what_records_and_sends_is_not_imported_when_off() -> None:
    code = (
        "import sys, modelmora.gateway.app, modelmora.node.node\n"
        "from modelmora.settings import Settings\n"
        "from modelmora.telemetry.spans import Spans\n"
        "assert Spans.of(Settings(), 'x', 'y') is None\n"
        "sent = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "assert not [name for name in sys.modules if name.startswith(sent)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
