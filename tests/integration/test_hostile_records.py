"""Records made to harm: each ends once, with its reason, and those beside it are answered."""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.checker import Place, gather, judge, read_ids
from tests.checker.reading import Cluster, as_dead_letter, is_note, read_records, readable_id
from tests.faults.recording import Figures
from tests.foreign import Draft, Foreign, draft, encode
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually
from tests.unit.wire.hostile import bombs, mutated

LARGEST = 2_000_000
"""A header or key of so many bytes just fits a record of the request topics."""
# A record of this size fits, and nothing larger made of it does: an outcome is larger.
BRIM = 2_096_960
OVER_LIMIT = 10_000_000
MANY = 10_000


def headed(*headers: tuple[str, bytes | None], model: str = "echo", **told: Any) -> Draft:
    """A good request with these headers; of a model that is not there, a bad one."""
    code = None if model == "echo" else "unknown_model"
    made = draft(model, ["x"], **told)
    return Draft(made.request_id, made.key, made.value, code, headers=headers)


def raw(value: bytes | None, code: str, key: bytes = b"echo") -> Draft:
    """Bytes as they are."""
    return Draft(readable_id(value), key, value, code)


def keyed(key: bytes) -> Draft:
    made = draft("nope", ["x"])
    return Draft(made.request_id, key, made.value, "unknown_model")


OURS = (
    "modelmora-principal",
    "modelmora-gateway",
    "modelmora-job",
    "modelmora-reply-partition",
    "modelmora-handed-on",
    "modelmora-asked-since",
    "modelmora-read-at",
    "modelmora-run",
    "traceparent",
    "kafka_replyTopic",
    "kafka_correlationId",
)
CORPUS: dict[str, Callable[[], Draft]] = {
    "empty": lambda: raw(b"", "empty_value"),
    "null": lambda: raw(None, "null_value"),
    "one byte": lambda: raw(b"\xc3", "undecodable"),
    "a header alone": lambda: raw(encode("", "echo", [])[:10], "undecodable"),
    "wrong magic": lambda: raw(b"\xc3\x02" + encode("i", "echo", [])[2:], "undecodable"),
    "unknown fingerprint": lambda: raw(b"\xc3\x01" + bytes(8) + b"x", "unknown_schema"),
    "unknown schema id": lambda: raw(b"\0\xff\xff\xff\xff" + bytes(40), "undecodable"),
    "an Avro file": lambda: raw(b"Obj\x01" + bytes(100), "undecodable"),
    "trailing junk": lambda: raw(
        encode(str(uuid.uuid4()), "echo", ["x"]) + b"\0", "trailing_bytes"
    ),
    "cut": lambda: raw(encode(str(uuid.uuid4()), "echo", ["x" * 90])[:-40], "undecodable"),
    "no id": lambda: raw(encode("", "echo", ["x"]), "undecodable"),
    "an id that fills it": lambda: draft("echo", ["x"], request_id="i" * 990_000),
    "a model that fills it": lambda: raw(
        encode(str(uuid.uuid4()), "m" * 990_000, ["x"]), "unknown_model"
    ),
    "a task that fills it": lambda: raw(
        encode(str(uuid.uuid4()), "echo", ["x"], task="t" * 990_000), "invalid_input"
    ),
    "a parameter that fills it": lambda: raw(
        encode(str(uuid.uuid4()), "echo", ["x"], {"p" * 990_000: 1}), "unknown_parameter"
    ),
    "50,000 parameters": lambda: raw(
        encode(str(uuid.uuid4()), "echo", ["x"], {f"{n}": None for n in range(50_000)}),
        "unknown_parameter",
    ),
    "400,000 inputs": lambda: draft("echo", [""] * 400_000),
    "10,000 headers": lambda: headed(*((f"h{n}", b"v") for n in range(MANY))),
    "10,000 headers of one name": lambda: headed(*[("modelmora-principal", b"p")] * MANY),
    "10,000 headers and no model": lambda: headed(
        *((f"h{n}", b"v" * 150) for n in range(MANY)), model="nope"
    ),
    "headers of ours without a value": lambda: headed(*((name, None) for name in OURS)),
    "headers of ours that are no text": lambda: headed(*((name, b"\xff\0") for name in OURS)),
    "a key that fills it": lambda: keyed(b"k" * LARGEST),
    **{
        f"{name} that fills it": lambda name=name: headed((name, b"0" * LARGEST))  # type: ignore[misc]
        for name in OURS
    },
    **{
        f"{name} to the brim, {model}": lambda name=name, model=model: headed(  # type: ignore[misc]
            (name, b"0" * (BRIM - len(name))), model=model
        )
        for name in ("modelmora-principal", "traceparent")
        for model in ("echo", "nope")
    },
    "10 MB that were packed": lambda: raw(
        encode(str(uuid.uuid4()), "echo", ["x" * OVER_LIMIT]), "too_large"
    ),
}


def broken(chance: random.Random, count: int) -> Iterator[Draft]:
    """Requests with some bytes changed; what becomes of each is for the checker to judge."""
    for _ in range(count):
        whole = encode(str(uuid.uuid4()), "echo", ["a", b"b"], {"x": 1}, timeout_ms=60_000)
        value = mutated(whole, chance)
        yield Draft(readable_id(value), b"echo", value)


class Target:
    """A node, which must outlive all that is sent to it."""

    def __init__(self, servers: str, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        self.node = NodeProcess(servers, self.namespace, folder)

    def ends(self, hostile: Iterable[Draft], figures: Figures) -> None:
        """Each between two good ones of the same partition: all end, each as it must."""
        ids = self.folder / f"{uuid.uuid4().hex}.jsonl"
        packing: dict[str, str | int] = {"message.max.bytes": 16 << 20, "compression.type": "zstd"}
        good = [draft("echo", ["good"])]
        with (
            Foreign(self.servers, ids, self.namespace, settings=packing) as foreign,
            closing(Observer(self.servers, self.namespace)) as seen,
        ):
            foreign.send("normal", good[0])
            for each in hostile:
                foreign.send("normal", each)
                good.append(draft("echo", ["good"]))
                foreign.send("normal", good[-1])
            foreign.flush()
            answers = seen.answers(each.request_id for each in good)
        assert {each.status for each in answers} == {Status.COMPLETED}
        eventually(self.all_committed, "every offset passed")
        group = f"{self.namespace}.nodes"
        verdict = judge(gather(self.servers, group, self.namespace, read_ids(ids)))
        assert verdict.violations == ()
        figures.judged(verdict, faults=len(good) - 1)
        why = self.reasons()
        for sent in foreign.sent:
            if sent.draft.code:
                assert why[Place(sent.topic, sent.partition, sent.offset)] == sent.draft.code
        assert self.node.running

    def all_committed(self) -> bool:
        with closing(Cluster(self.servers, f"{self.namespace}.nodes")) as cluster:
            return cluster.all_committed(self.namespace)

    def reasons(self) -> dict[Place | None, str]:
        """Of each dead letter, by where its record lay."""
        records = read_records(self.servers, [f"{self.namespace}.dead-letters"])
        letters = (as_dead_letter(each) for each in records if not is_note(each))
        return {each.source: each.code for each in letters}


@pytest.fixture(scope="module")
def target(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    made = Target(broker.bootstrap_servers, tmp_path_factory.mktemp("hostile"))
    with made.node as node:
        yield made
        assert node.stop() == 0, node.tail()


@pytest.mark.row("F18")
def test_a_corpus(target: Target, figures: Figures) -> None:
    target.ends((make() for make in CORPUS.values()), figures)


@pytest.mark.row("F18")
@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.faults)])
def test_bytes_changed_at_random(count: int, target: Target, figures: Figures) -> None:
    seed = secrets.token_hex(8)
    print(f"seed {seed}")  # shown where it fails
    target.ends(broken(random.Random(seed), count), figures)


@pytest.mark.row("F18", "F19")
def test_counts_and_lengths_that_lie(target: Target, figures: Figures) -> None:
    target.ends((Draft(readable_id(value), b"echo", value) for value in bombs()), figures)
