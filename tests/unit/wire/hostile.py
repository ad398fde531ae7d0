"""Throws broken bytes at the decoders, in a process of its own because they may kill it.

    python -m tests.unit.wire.hostile SEED COUNT     mutations of valid values
    python -m tests.unit.wire.hostile bombs          values made to hang or crash a reader

Exit code 0 when every decoder either answered or raised Undecodable.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

from modelmora import wire
from modelmora.errors import Code, Undecodable
from modelmora.messages import (
    ChatMessage,
    ControlCommand,
    ControlVerb,
    ErrorInfo,
    EventKind,
    InferenceRequest,
    InferenceResult,
    LifecycleEvent,
    ObjectRef,
    ProgressEvent,
    ProgressStage,
    RegistryKind,
    RegistryRecord,
    Source,
    Status,
    Tensor,
)

MEMORY = 2 << 30
CPU_S = 120
CONTENTS = (
    "text",
    b"bytes",
    Tensor("x", "FP32", (2, 3), bytes(24)),
    ObjectRef("s3://b/k", "0" * 64, 10, "image/png", 1),
    ChatMessage("user", "hello"),
)
PARAMETERS = {"a": None, "b": True, "c": 5, "d": 0.5, "e": "x", "f": ("y", "z")}
REQUEST = InferenceRequest("id-1", "m@1", CONTENTS, "txt2embed", PARAMETERS, 1000, True)
RESULT = InferenceResult(
    "id-1",
    Status.FAILED,
    "m",
    "1",
    Source("t", 1, 2),
    PARAMETERS,
    ErrorInfo(Code.BUSY, "later", 5),
    outputs=CONTENTS,
)
Decoder = Callable[[bytes | None], Any]
TARGETS: tuple[tuple[bytes, tuple[Decoder, ...]], ...] = (
    (
        wire.encode_request(REQUEST),
        (wire.decode_request, wire.decode_request_head, wire.readable_request_id),
    ),
    (wire.encode_result(RESULT), (wire.decode_result,)),
    (
        wire.encode_progress(ProgressEvent("i", ProgressStage.CHUNK, "m", 1, 2.0, b"c")),
        (wire.decode_progress,),
    ),
    (
        wire.encode_event(LifecycleEvent("i", EventKind.LOADED, "n", 1, "m", "1", PARAMETERS)),
        (wire.decode_event,),
    ),
    (
        wire.encode_registry(
            RegistryRecord(
                RegistryKind.NODE, "m", "1", "t", "s", "w", True, "e", 5, 9, {"m@1": "t"}, (0, 1)
            )
        ),
        (wire.decode_registry,),
    ),
    (wire.encode_control(ControlCommand(ControlVerb.CANCEL, "id")), (wire.decode_control,)),
)


def zigzag(number: int) -> bytes:
    """A long in Avro's encoding."""
    rest = ((number << 1) ^ (number >> 63)) & (1 << 64) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


NUMBERS = (0, -1, 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**40), -(2**63))
OVERLONG = (b"\xff" * 9, b"\xff" * 10, b"\x80" * 30)
NOT_UTF8 = (b"\xff\xfe", b"\xed\xa0\x80")
EXTREMES = (*map(zigzag, NUMBERS), *OVERLONG, *NOT_UTF8)


def mutated(value: bytes, chance: random.Random) -> bytes:
    """A value with some bytes changed, cut out, repeated, or replaced by an extreme number."""
    out = bytearray(value)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(10, len(out)) if len(out) > 10 else 0
        kind = chance.randrange(5)
        if kind == 0:
            out[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del out[at : at + chance.randint(1, 8)]
        elif kind == 2:
            out[at:at] = out[at : at + chance.randint(1, 30)]
        elif kind == 3:
            out[at : at + 1] = chance.choice(EXTREMES)
        else:
            del out[at:]
    return bytes(out)


def bombs() -> Iterator[bytes]:
    """Requests whose counts and lengths lie, small enough for any topic."""
    whole = wire.encode_request(InferenceRequest("id-1", "m", ()))
    body = whole[:-1]  # all but the empty array of inputs
    head = whole[:10]
    numbers = (2**30, 2**40, 2**62, 2**63 - 1, -1, -(2**30), -(2**40), -(2**63))
    for count in numbers:
        yield body + zigzag(count)
        yield body + zigzag(count) + b"\x00"
        yield head + zigzag(count) + b"id"  # the length of a string
        for size in (0, 1, *numbers, -3, -12):
            yield body + zigzag(count) + zigzag(size) + b"\x00" * 20
    yield body + (zigzag(-1) + b"\x00") * 400_000 + b"\x00"
    yield body + (zigzag(1) + b"\x00\x00") * 300_000 + b"\x00"
    yield body + zigzag(2**30) + b"\x00" * 1_000_000
    # A tensor's shape: an array whose items are one byte wide.
    tensor = zigzag(1) + zigzag(2) + b"\x00\x00"
    for count in numbers:
        yield body + tensor + zigzag(count) + b"\x00" * 1_000_000
    yield head + b"\x80" * 1_000_000


def survive(decoders: tuple[Decoder, ...], value: bytes) -> None:
    """Decode with each; anything but an answer or Undecodable passes through."""
    for decode in decoders:
        try:
            decode(value)
        except Undecodable:
            continue


def main(arguments: list[str]) -> None:
    """Run under limits, so that a fault ends this process and nothing else."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    value, decoders = TARGETS[0]
    if arguments == ["bombs"]:
        for bomb in bombs():
            survive(decoders, bomb)
        return
    seed, count = arguments
    chance = random.Random(seed)
    for _ in range(int(count)):
        value, decoders = chance.choice(TARGETS)
        broken = mutated(value, chance)
        try:
            survive(decoders, broken)
        except Exception:
            sys.stderr.write(f"seed {seed}: {broken.hex()}\n")
            raise


if __name__ == "__main__":
    main(sys.argv[1:])
