"""A producer that is not ours: fastavro, confluent-kafka's defaults and the .avsc files, no more.

python -m tests.foreign --bootstrap-servers H:P --ids FILE --count 200 [--broken-every 10]
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastavro import parse_schema, schemaless_writer

from tests.single_object import header

LANES = ("critical", "high", "normal", "low")
LIMIT = 1_000_000
_SOURCE = json.loads((Path(__file__).parents[1] / "schemas/inference_request.avsc").read_text())
HEADER = header(_SOURCE)
_SCHEMA = parse_schema(_SOURCE)


class Broken(StrEnum):
    """How a record can be broken."""

    TRUNCATED = "truncated"
    WRONG_FINGERPRINT = "wrong_fingerprint"
    TRAILING_BYTES = "trailing_bytes"
    EMPTY = "empty"
    NULL = "null"
    OVER_LIMIT = "over_limit"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PARAMETER = "unknown_parameter"

    @property
    def code(self) -> str:
        """The error code that it must end with."""
        return _CODES[self]

    @property
    def has_id(self) -> bool:
        """Whether its id can be read, so that it ends on `results` too."""
        return self not in (Broken.WRONG_FINGERPRINT, Broken.EMPTY, Broken.NULL)


_CODES = {
    Broken.TRUNCATED: "undecodable",
    Broken.WRONG_FINGERPRINT: "unknown_schema",
    Broken.TRAILING_BYTES: "trailing_bytes",
    Broken.EMPTY: "empty_value",
    Broken.NULL: "null_value",
    Broken.OVER_LIMIT: "too_large",
    Broken.UNKNOWN_MODEL: "unknown_model",
    Broken.UNKNOWN_PARAMETER: "unknown_parameter",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to send; `code` is the error it must end with, None for a result.

    `request_id` is empty where no id can be read.
    """

    request_id: str
    key: bytes
    value: bytes | None
    code: str | None = None
    broken: Broken | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that the broker has acknowledged."""

    draft: Draft
    topic: str
    partition: int
    offset: int


def encode(
    request_id: str,
    model: str,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    """The record value of a request."""
    out = BytesIO()
    out.write(HEADER)
    datum = {"request_id": request_id, "model": model, "inputs": inputs}
    schemaless_writer(out, _SCHEMA, {**datum, "parameters": parameters or {}, **fields})
    return out.getvalue()


def draft(
    model: str,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    request_id: str | None = None,
    broken: Broken | None = None,
    **fields: Any,
) -> Draft:
    """A request, broken in one way if asked."""
    request_id = request_id or str(uuid.uuid4())
    if broken is Broken.UNKNOWN_MODEL:
        model = "no-such-model"
    if broken is Broken.UNKNOWN_PARAMETER:
        parameters = {**(parameters or {}), "no_such_parameter": 1}
    if broken is Broken.OVER_LIMIT:
        inputs = [*inputs, "x" * LIMIT]
    whole = encode(request_id, model, inputs, parameters, **fields)
    tail = len(whole) - len(encode(request_id, model, [], parameters, **fields))
    damage: dict[Broken, Callable[[], bytes | None]] = {
        # Within the inputs, so that the id can be read.
        Broken.TRUNCATED: lambda: whole[: -max(1, tail // 2)],
        Broken.WRONG_FINGERPRINT: lambda: whole[:2] + bytes(8) + whole[10:],
        Broken.TRAILING_BYTES: lambda: whole + b"more",
        Broken.EMPTY: lambda: b"",
        Broken.NULL: lambda: None,
    }
    value = damage[broken]() if broken in damage else whole
    return Draft(
        request_id if broken is None or broken.has_id else "",
        model.encode(),
        value,
        broken.code if broken else None,
        broken,
    )


class Foreign:
    """Sends drafts; each is in the ids file before it can have an outcome.

    `settings` are further ones of librdkafka. Without `keep` what was sent is only counted.
    """

    def __init__(
        self,
        servers: str,
        ids: Path,
        namespace: str = "modelmora",
        *,
        settings: Mapping[str, str | int] | None = None,
        keep: bool = True,
    ) -> None:
        self._namespace = namespace
        self._keep = keep
        self._file = ids.open("a")
        self._faults: list[KafkaError] = []
        self.sent: list[Sent] = []
        self.acknowledged = 0
        # Only what a foreign client must set: our limit is above librdkafka's own.
        own = {"bootstrap.servers": servers, "message.max.bytes": 2 << 20, "log_level": 0}
        self._producer = Producer(own | dict(settings or {}))

    def send(self, lane: str, one: Draft, partition: int = -1) -> None:
        """Hand a draft to the producer, on the lane's topic; without a partition, by its key."""
        topic = f"{self._namespace}.requests.{lane}"
        if one.request_id:
            self._note(one, topic)
        delivered = partial(self._delivered, one)
        while True:
            try:
                self._producer.produce(
                    topic,
                    one.value,
                    one.key,
                    partition,
                    on_delivery=delivered,
                    headers=[*one.headers],
                )
                break
            except BufferError:
                self._producer.poll(0.5)
        self._producer.poll(0)

    def flush(self, timeout_s: float = 120) -> None:
        """Wait for every acknowledgement. Raises KafkaException when one does not come."""
        left = self._producer.flush(timeout_s)
        self._file.flush()
        if left or self._faults:
            raise KafkaException(
                self._faults[0] if self._faults else KafkaError(KafkaError._TIMED_OUT)
            )

    def close(self) -> None:
        """Close the ids file; flush comes first."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _delivered(self, one: Draft, error: KafkaError | None, message: Message) -> None:
        if error:
            self._faults.append(error)
            return
        sent = Sent(one, message.topic(), message.partition(), message.offset())
        self.acknowledged += 1
        if self._keep:
            self.sent.append(sent)
        if not one.request_id:
            self._note(one, sent.topic, partition=sent.partition, offset=sent.offset)

    def _note(self, one: Draft, topic: str, **place: int) -> None:
        digest = None if one.value is None else sha256(one.value).hexdigest()
        line = {"request_id": one.request_id, "topic": topic, **place, "sha256": digest}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def main(argv: list[str]) -> None:
    """Send a mixture over the four lanes."""
    parser = argparse.ArgumentParser("python -m tests.foreign", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--ids", required=True, type=Path)
    parser.add_argument("--namespace", default="modelmora")
    parser.add_argument("--model", default="echo")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--broken-every", type=int, default=0, help="0 = none")
    options = parser.parse_args(argv)
    kinds = list(Broken)
    with Foreign(options.bootstrap_servers, options.ids, options.namespace) as foreign:
        for number in range(options.count):
            every = options.broken_every
            bad = kinds[number // every % len(kinds)] if every and number % every == 0 else None
            foreign.send(LANES[number % 4], draft(options.model, [f"input {number}"], broken=bad))
        foreign.flush()
    print(f"{len(foreign.sent)} acknowledged")


if __name__ == "__main__":
    main(sys.argv[1:])
