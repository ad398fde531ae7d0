"""The messages that are flat and off the hot path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from modelmora.messages import (
    AuditEvent,
    BatchKind,
    BatchRecord,
    BudgetRecord,
    ControlCommand,
    ControlVerb,
    Decision,
    EventKind,
    JobRecord,
    LifecycleEvent,
    MetricSample,
    ProgressEvent,
    ProgressStage,
    RegistryKind,
    RegistryRecord,
    Status,
)
from modelmora.wire.codec import HEADER, current, parameters, plain_parameters, read, write
from modelmora.wire.contents import shallow
from modelmora.wire.oldest import is_older, oldest

T = TypeVar("T")


def renewed(value: bytes, header: bytes) -> bytes:
    """A value of an older form in that of this header; itself where it is none of those."""
    name = is_older(value[:HEADER], header)
    if name is None:
        return value
    _, schema = current(name)
    return write(header, schema, read(name, value, schema))


def _codec(
    name: str, cls: type[T], convert: Mapping[str, Callable[[Any], Any]], *, older: bool = False
) -> tuple[Callable[[T], bytes], Callable[[bytes | None], T]]:
    """Encoder and decoder; `older`: it is written in the oldest form that says it.

    That is for what all releases of nodes and gateways read of each other. Readers in other
    languages know one schema, the current one.
    """
    header, schema = current(name)

    def encode(message: T) -> bytes:
        datum = shallow(message)
        if "facts" in datum:
            datum["facts"] = plain_parameters(datum["facts"])
        form = oldest(name, datum) if older else None
        return write(*(form.header, form.schema) if form else (header, schema), datum)

    def decode(value: bytes | None) -> T:
        datum = read(name, value, schema)
        return cls(**{k: convert[k](v) if k in convert else v for k, v in datum.items()})

    return encode, decode


encode_progress, decode_progress = _codec("progress_event", ProgressEvent, {"stage": ProgressStage})
encode_event, decode_event = _codec(
    "lifecycle_event", LifecycleEvent, {"kind": EventKind, "facts": parameters}
)
encode_registry, decode_registry = _codec(
    "registry_record", RegistryRecord, {"kind": RegistryKind, "partitions": tuple}, older=True
)
encode_job, decode_job = _codec("job_record", JobRecord, {"status": lambda s: s and Status(s)})
encode_batch, decode_batch = _codec("batch_record", BatchRecord, {"kind": BatchKind})
encode_sample, decode_sample = _codec("metric_sample", MetricSample, {})
encode_control, decode_control = _codec("control_command", ControlCommand, {"verb": ControlVerb})
encode_audit, decode_audit = _codec("audit_event", AuditEvent, {"decision": Decision})
encode_budget, decode_budget = _codec("budget_record", BudgetRecord, {})
