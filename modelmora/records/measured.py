"""What nodes have measured of a model: told on the registry, so that a restart forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modelmora.messages import DeviceKind, RegistryKind, RegistryRecord
from modelmora.messages.device import step
from modelmora.records.state import Registry

MEANINGFUL = 0.1
"""What differs by no more than this share is not told again."""
MOST_STEPS = 64
_LOAD_MS = 1e9
_T = TypeVar("_T")


def tried(peaks: Mapping[int, _T], safe_cost: int | None) -> dict[int, _T]:
    """The peaks without those of batches that have run out of memory, and are not tried again."""
    return {c: held for c, held in peaks.items() if safe_cost is None or c <= step(safe_cost)}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a replica was seen to take on one kind of device.

    `peaks` is the most bytes, of RAM and of the GPU, by the cost of the batch that ran; a batch of
    a cost above `safe_cost` has run out of memory.
    """

    peaks: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    safe_cost: int | None = None

    @property
    def most(self) -> tuple[int, int]:
        """Bytes of RAM and of the GPU that a replica needs; 0 where nothing was measured."""
        rams, gpus = zip((0, 0), *self.peaks.values(), strict=True)
        return max(rams), max(gpus)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a node has measured of a model; `mark` tells what was run from all else it could be."""

    mark: str
    devices: Mapping[DeviceKind, Taken]
    load_ms: float | None = None


def told(key: tuple[str, str], node: str, measured: Measured, at_s: float = 0) -> RegistryRecord:
    """The record in which a node tells it, at a time (Unix s)."""
    devices = {
        kind.value: {
            "peaks": {str(cost): held for cost, held in sorted(one.peaks.items())},
            "safe_cost": one.safe_cost,
        }
        for kind, one in sorted(measured.devices.items())
    }
    load_ms = None if measured.load_ms is None else round(measured.load_ms, 1)
    details = {"mark": measured.mark, "load_ms": load_ms, "devices": devices, "at_s": round(at_s)}
    text = json.dumps(details, separators=(",", ":"))
    return RegistryRecord(RegistryKind.MEASURED, *key, "", "", node, details=text)


def read(record: RegistryRecord) -> Measured | None:
    """What a record tells; None where it cannot be read, for a stranger may have written it."""
    try:
        details = json.loads(record.details)
        devices = {DeviceKind(kind): _taken(one) for kind, one in details["devices"].items()}
        load_ms = None if details["load_ms"] is None else float(details["load_ms"])
        if load_ms is not None and not 0 <= load_ms < _LOAD_MS:  # or not a number at all
            return None
        return Measured(str(details["mark"]), devices, load_ms)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def told_at_s(record: RegistryRecord) -> float:
    """When a record was told (Unix s); 0 where it does not say so."""
    try:
        return float(json.loads(record.details)["at_s"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 0.0


def _taken(found: Mapping[str, Any]) -> Taken:
    peaks = {int(cost): (int(ram), int(gpu)) for cost, (ram, gpu) in found["peaks"].items()}
    safe = None if found["safe_cost"] is None else int(found["safe_cost"])
    numbers = [*peaks, *(byte for held in peaks.values() for byte in held), safe or 0]
    if len(peaks) > MOST_STEPS or min(numbers) < 0 or max(numbers) >= 1 << 60 or safe == 0:
        raise ValueError("no measurement")
    return Taken(tried(peaks, safe), safe)


def of_model(state: Registry, key: tuple[str, str]) -> Iterator[tuple[str, Measured]]:
    """What nodes have told of a model, by node; "" stands for those without a lasting name."""
    for entry in state.measured(key):
        if found := read(entry.record):
            yield entry.record.writer, found


def known(state: Registry, key: tuple[str, str], node: str, mark: str) -> Measured | None:
    """What a node begins with: its own measurement, else the largest of the others'.

    What was measured of other files, options or engines is of no use.
    """
    found = {who: each for who, each in of_model(state, key) if each.mark == mark}
    largest = max(
        found.values(),
        key=lambda one: max(each.most for each in one.devices.values()) if one.devices else (0, 0),
        default=None,
    )
    return found.get(node, largest)


def differs(before: Measured | None, now: Measured) -> bool:
    """Whether it is worth telling: by more than a tenth in bytes or time, or in what fits."""
    if before is None or before.mark != now.mark or before.devices.keys() != now.devices.keys():
        return True
    pairs = [(before.load_ms or 0.0, now.load_ms or 0.0)]
    for kind, one in now.devices.items():
        was = before.devices[kind]
        if was.safe_cost != one.safe_cost:
            return True
        pairs += zip(map(float, was.most), map(float, one.most), strict=True)
    return any(abs(one - other) > MEANINGFUL * max(one, other) for one, other in pairs)


def joined(one: Measured | None, other: Measured) -> Measured:
    """The most of both, where they are of the same: what nodes tell that share a name."""
    if one is None or one.mark != other.mark:
        return other
    kinds = one.devices.keys() | other.devices.keys()
    nothing = Taken()
    devices = {
        kind: _joined(one.devices.get(kind, nothing), other.devices.get(kind, nothing))
        for kind in kinds
    }
    return Measured(other.mark, devices, max(one.load_ms or 0.0, other.load_ms or 0.0) or None)


def _joined(one: Taken, other: Taken) -> Taken:
    safe = min((each.safe_cost for each in (one, other) if each.safe_cost), default=None)
    peaks = dict(one.peaks)
    for cost, held in other.peaks.items():
        before = peaks.get(cost, (0, 0))
        peaks[cost] = (max(held[0], before[0]), max(held[1], before[1]))
    return Taken(tried(peaks, safe), safe)


def shown(state: Registry, key: tuple[str, str]) -> list[dict[str, Any]]:
    """What was measured of a model, a row for each node and kind of device."""
    return [
        {
            "node": node,
            "device": kind.value,
            "memory_bytes": one.most[0],
            "gpu_bytes": one.most[1],
            "largest_batch_cost": one.safe_cost,
            "load_ms": measured.load_ms,
        }
        for node, measured in sorted(of_model(state, key), key=lambda each: each[0])
        for kind, one in sorted(measured.devices.items())
    ]
