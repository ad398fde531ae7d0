"""One trace from the gateway over the topic and the node to the child, as a collector gets it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.client import Answer, CallError, Client, tracing
from modelmora.kafka.topics import Topic
from modelmora.messages.traceparent import ids_of, new_trace, trace_id_of
from tests.collectors import Collector, Seen, collecting
from tests.hasty import HastyNode
from tests.nodes import GatewayProcess
from tests.programs import eventually

SAMPLED, UNSAMPLED = "01", "00"


class Traced:
    """A gateway and a node that tell a collector; `moody` cannot be loaded while `mood` exists."""

    def __init__(
        self,
        collector: Collector,
        gateway: GatewayProcess,
        node: HastyNode,
        namespace: str,
        mood: Path,
    ) -> None:
        self.collector = collector
        self.node = node
        self.mood = mood
        self._namespace = namespace
        self.gateway = gateway

    def ask(self, model: str, **headers: str) -> httpx.Response:
        url = f"{self.gateway.http}/infer/{model}"
        return httpx.post(url, json={"inputs": "x"}, headers=headers, timeout=60)

    def topic(self, topic: Topic) -> str:
        return topic.full(self._namespace)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.collector.spans if span.name == name]

    def wait(self, trace: str, *names: str) -> None:
        eventually(lambda: set(names) <= set(self.collector.of(trace)), "the spans")


def models(mood: Path) -> list[dict[str, object]]:
    moody = {"engine": "tests.integration.worker_helpers:Moody", "options": {"while": str(mood)}}
    return [
        {"name": "echo", "task": "echo", "source": "builtin:echo"},
        {"name": "sleep", "task": "sleep", "source": "builtin:sleep"},
        {"name": "count", "task": "count", "source": "builtin:count"},
        {"name": "moody", "task": "echo", "source": "builtin:echo", **moody},
    ]


@pytest.fixture(scope="module")
def traced(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder: Path = tmp_path_factory.mktemp("tracing")
    servers, namespace = broker.bootstrap_servers, f"t{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        told = {"TRACING__ENDPOINT": collector.address}
        own = {**told, "MODELS": json.dumps(models(mood := folder / "mood"))}
        node = stack.enter_context(HastyNode(servers, namespace, folder, settings=own))
        gateway = stack.enter_context(GatewayProcess(servers, namespace, folder, told))
        node.wait_ready()
        gateway.wait_ready()
        eventually(lambda: httpx.get(f"{gateway.http}/models").json()["models"], "a model")
        yield Traced(collector, gateway, node, namespace, mood)


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


def test_a_stream_goes_on_with_the_trace_of_the_client(traced: Traced) -> None:
    trace, caller = new_trace(sampled=True), "gateway"
    with Client(traced.gateway.grpc) as client, tracing(trace):
        pieces = list(client.stream("count", ["a b c"]))
    assert isinstance(pieces[-1], Answer)
    traced.wait(trace_id_of(trace), "infer", f"send {traced.topic(Topic.RESULTS)}")
    infer = traced.collector.of(trace_id_of(trace))["infer"]
    assert ids_of(trace)[1] == int(infer.parent, 16)
    assert infer.service.endswith(caller)
    assert infer.facts["modelmora.door"] == "grpc"


def test_a_job_that_is_tried_again_has_a_span_for_each_time_it_is_put_off(traced: Traced) -> None:
    trace = new_trace(sampled=True)
    soon, results = traced.topic(Topic.RETRY_SOON), traced.topic(Topic.RESULTS)
    traced.mood.touch()
    with Client(traced.gateway.grpc) as client, tracing(trace):
        job = client.submit("moody", ["x"])
        traced.wait(trace_id_of(trace), f"send {soon}")
        traced.mood.unlink()
        assert job.result(timeout_s=60).request_id == job.id
    traced.wait(trace_id_of(trace), f"send {results}", "infer")
    spans = traced.collector.of(trace_id_of(trace))
    put_off = spans[f"send {soon}"]
    (ended,) = [
        each for name, each in spans.items() if name.startswith("process ") and "retry" in name
    ]
    assert put_off.parent == spans[f"send {traced.topic(Topic.NORMAL)}"].id
    assert ended.facts["modelmora.attempt"] > 1
    assert spans[f"send {results}"].parent == ended.id


def test_requests_that_run_together_are_linked_by_their_batch(traced: Traced) -> None:
    traces = [new_trace(sampled=True) for _ in range(6)]
    with Client(traced.gateway.grpc) as client, ThreadPoolExecutor(len(traces)) as pool:

        def ask(trace: str, ms: int) -> Answer:
            with tracing(trace):
                return client.infer("sleep", ["x"], parameters={"ms": ms})

        busy = pool.submit(ask, new_trace(sampled=False), 2000)
        eventually(lambda: traced.node.models()["sleep"]["running"], "the first to run")
        asked = [pool.submit(ask, trace, 1) for trace in traces]
        for each in (busy, *asked):
            each.result(60)
    told = f"send {traced.topic(Topic.NORMAL)}"
    for trace in traces:
        traced.wait(trace_id_of(trace), told, "child")
    eventually(lambda: traced.named("batch"), "a batch")
    by_id = {batch.id: batch for batch in traced.named("batch")}
    linked = 0
    for trace in traces:
        spans = traced.collector.of(trace_id_of(trace))
        for batch in spans["child"].links:
            assert spans[told].id in by_id[batch].links
            linked += 1
    assert linked == sum(len(batch.links) for batch in by_id.values()) > 1
    assert all(not batch.parent for batch in by_id.values())


def test_the_line_of_a_request_that_fails_names_its_trace(traced: Traced) -> None:
    trace = new_trace(sampled=False)
    with Client(traced.gateway.grpc) as client, tracing(trace), pytest.raises(CallError) as raised:
        client.infer("count", ["boom"], parameters={"marker": "boom", "fault": "error"})
    told = f"request {raised.value.request_id} "
    eventually(lambda: told in traced.node.log.read_text(), "the line")
    lines = [line for line in traced.node.log.read_text().splitlines() if told in line]
    assert all(f"traceparent 00-{trace_id_of(trace)}-" in line for line in lines)


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
