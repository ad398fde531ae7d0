"""Two nodes of which one has a model that the other lacks: any partition leads to it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.gateway.outcomes import answer_of
from modelmora.kafka.topics import read_topics
from modelmora.messages import Source, Status
from modelmora.settings import Settings
from tests.checker import gather, judge
from tests.foreign import draft
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess, Observer
from tests.programs import eventually

LANE = "requests.normal"
READ = read_topics(Settings(namespace="any"))
ONLY = "only"


class Pair:
    """Two nodes; the first has the files of `only`, which echoes, and the second has not."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        self.servers = broker.bootstrap_servers
        self.namespace = namespace
        nodes = []
        for name in ("n1", "n2"):
            (folder / name).mkdir()
            never = {"LIMITS__RETRIES": 0}
            nodes.append(NodeProcess(self.servers, namespace, folder / name, name, never))
        self.has, self.lacks = nodes
        self.gateway = GatewayProcess(self.servers, namespace, folder)
        definition = folder / "n1" / "models" / ONLY / "1.yaml"
        definition.parent.mkdir(parents=True)
        (folder / "files").mkdir()
        self.has.cwd = folder
        definition.write_text(f"name: {ONLY}\nversion: '1'\ntask: echo\nsource: files\n")
        self.sources: dict[str, Source] = {}
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        self._admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def send(self, count: int, **headers: bytes) -> list[str]:
        """As many requests on all partitions of a lane in turn; their ids."""
        ids = []

        def sent(request_id: str, message: Message) -> None:
            place = (message.topic(), message.partition(), message.offset())
            self.sources[request_id] = Source(*place)

        for number in range(count):
            one = draft(ONLY, [f"input {number}"])
            ids.append(one.request_id)
            self._producer.produce(
                f"{self.namespace}.{LANE}",
                one.value,
                one.key,
                number % PARTITIONS,
                lambda _, message, request_id=one.request_id: sent(request_id, message),
                headers=[(name.replace("_", "-"), value) for name, value in headers.items()],
            )
        assert self._producer.flush(60) == 0
        return ids

    def owners(self) -> dict[str, int]:
        """How many partitions each node has."""
        group = f"{self.namespace}.nodes"
        found = self._admin.describe_consumer_groups([group])[group].result(30)
        return {each.client_id: len(each.assignment.topic_partitions) for each in found.members}

    def handed_on(self) -> float:
        """How many requests the node without the model has handed on."""
        lines = self.lacks.text("/metrics").splitlines()
        (found,) = (line for line in lines if line.startswith("modelmora_handed_on_total "))
        return float(found.split()[1])

    def ask(self) -> int:
        """The status of a call through the gateway."""
        body = json.dumps({"inputs": ["a"]}).encode()
        call = urllib.request.Request(
            f"{self.gateway.http}/infer/{ONLY}", body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(call, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def pair(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(broker, namespace, tmp_path)
    with ExitStack() as stack:
        for each in (made.has, made.lacks):
            each.start()
            stack.callback(lambda each=each: each.running and each.kill())  # type: ignore[misc]
        for each in (made.has, made.lacks):
            each.wait_ready()
        stack.enter_context(made.gateway)
        share = PARTITIONS * len(READ) // 2
        eventually(lambda: made.owners() == {"n1": share, "n2": share}, "a share each")
        yield made


def test_a_model_of_one_node_is_served_from_every_partition(pair: Pair) -> None:
    with closing(Observer(pair.servers, pair.namespace)) as seen:
        eventually(lambda: _serves(pair, seen), "a lease that the other has heard")
        before = pair.handed_on()
        ids = pair.send(40)
        answers = seen.answers(ids)
        assert {answer.status for answer in answers} == {Status.COMPLETED}
        assert {each.request_id: each.source for each in answers} == {
            each: pair.sources[each] for each in ids
        }
        assert {source.partition for source in pair.sources.values()} == set(range(PARTITIONS))
        assert pair.handed_on() - before == 20
        assert pair.ask() == 200
        # What a header of a stranger can do: the outcome names another place, and no more.
        place = f"1 0 0 1800000000000 {pair.namespace}.{LANE} 0".encode()
        forged = pair.send(PARTITIONS, modelmora_handed_on=place)
        forged += pair.send(PARTITIONS, modelmora_handed_on=b"1 99999 \xff")
        assert {answer.status for answer in seen.answers(forged)} == {Status.COMPLETED}

        pair.has.kill()
        gone = pair.send(40)
        reasons = {answer.error and answer.error.code.value for answer in seen.answers(gone)}
        assert reasons <= {"model_unavailable", "cannot_be_served"}
        status = answer_of(Code.CANNOT_BE_SERVED).http
        eventually(lambda: pair.ask() == status, "a gateway that knows")


@pytest.mark.faults
def test_a_kill_while_handing_on_loses_nothing(pair: Pair) -> None:
    """What is handed on again has the same id and source, and ends alike."""
    with closing(Observer(pair.servers, pair.namespace)) as seen:
        eventually(lambda: _serves(pair, seen), "a lease that the other has heard")
        before = len(seen.results)
        ids = pair.send(2000)
        seen.until(lambda: len(seen.results) > before + 100, "some outcomes")
        pair.lacks.kill()
        pair.lacks.start().wait_ready()
        seen.until(lambda: seen.results.keys() >= set(ids), "every outcome")
        ended = {each: {(r.status, r.source) for r in seen.results[each]} for each in ids}
        assert ended == {each: {(Status.COMPLETED, pair.sources[each])} for each in ids}
    evidence = gather(pair.servers, f"{pair.namespace}.nodes", pair.namespace, ())
    assert any(request.origin for request in evidence.requests)
    assert judge(evidence).violations == ()


def _serves(pair: Pair, seen: Observer) -> bool:
    answers = seen.answers(pair.send(PARTITIONS))
    return all(answer.status is Status.COMPLETED for answer in answers)
