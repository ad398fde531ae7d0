"""Every message beside its schema, its codec and its strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from modelmora import messages, wire
from tests.unit.wire import strategies


@dataclass(frozen=True)
class Pair:
    """A schema file, the message it shapes, and how that is written and read."""

    schema: str
    message: type[Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes | None], Any]
    values: SearchStrategy[Any]


PAIRS = (
    Pair(
        "inference_request",
        messages.InferenceRequest,
        wire.encode_request,
        wire.decode_request,
        strategies.requests,
    ),
    Pair(
        "inference_result",
        messages.InferenceResult,
        wire.encode_result,
        wire.decode_result,
        strategies.results,
    ),
    Pair(
        "progress_event",
        messages.ProgressEvent,
        wire.encode_progress,
        wire.decode_progress,
        strategies.progress_events,
    ),
    Pair(
        "job_record",
        messages.JobRecord,
        wire.encode_job,
        wire.decode_job,
        strategies.job_records,
    ),
    Pair(
        "audit_event",
        messages.AuditEvent,
        wire.encode_audit,
        wire.decode_audit,
        strategies.audit_events,
    ),
    Pair(
        "batch_record",
        messages.BatchRecord,
        wire.encode_batch,
        wire.decode_batch,
        strategies.batch_records,
    ),
    Pair(
        "budget_record",
        messages.BudgetRecord,
        wire.encode_budget,
        wire.decode_budget,
        strategies.budget_records,
    ),
    Pair(
        "lifecycle_event",
        messages.LifecycleEvent,
        wire.encode_event,
        wire.decode_event,
        strategies.lifecycle_events,
    ),
    Pair(
        "registry_record",
        messages.RegistryRecord,
        wire.encode_registry,
        wire.decode_registry,
        strategies.registry_records,
    ),
    Pair(
        "metric_sample",
        messages.MetricSample,
        wire.encode_sample,
        wire.decode_sample,
        strategies.metric_samples,
    ),
    Pair(
        "control_command",
        messages.ControlCommand,
        wire.encode_control,
        wire.decode_control,
        strategies.control_commands,
    ),
)
NAMES = [pair.schema for pair in PAIRS]
