"""Hypothesis strategies for every message, and messages as the plain values Avro writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any

from hypothesis import strategies as st

from modelmora.errors import Code
from modelmora.messages import (
    AuditEvent,
    BatchKind,
    BatchRecord,
    BudgetRecord,
    ChatMessage,
    ControlCommand,
    ControlVerb,
    Decision,
    ErrorInfo,
    EventKind,
    InferenceRequest,
    InferenceResult,
    JobRecord,
    LifecycleEvent,
    MetricSample,
    ObjectRef,
    ProgressEvent,
    ProgressStage,
    RegistryKind,
    RegistryRecord,
    Source,
    Status,
    Tensor,
    Timings,
    ToolCall,
)

texts = st.text(max_size=20)
blobs = st.binary(max_size=40)
longs = st.integers(-(2**63), 2**63 - 1)
ints = st.integers(-(2**31), 2**31 - 1)
doubles = st.floats(allow_nan=False)
tensors = st.builds(Tensor, texts, texts, st.lists(longs, max_size=3).map(tuple), blobs)
contents = st.lists(
    st.one_of(
        texts,
        blobs,
        tensors,
        st.builds(ObjectRef, texts, texts, longs, texts, longs),
        st.builds(
            ChatMessage,
            texts,
            texts,
            st.none() | texts,
            st.none() | st.lists(st.builds(ToolCall, texts, texts, texts), max_size=3).map(tuple),
            st.none() | texts,
        ),
    ),
    max_size=4,
).map(tuple)
parameters = st.dictionaries(
    texts,
    st.one_of(
        st.none(), st.booleans(), longs, doubles, texts, st.lists(texts, max_size=3).map(tuple)
    ),
    max_size=4,
)
requests = st.builds(
    InferenceRequest,
    request_id=texts,
    model=texts,
    inputs=contents,
    task=st.none() | texts,
    parameters=parameters,
    timeout_ms=st.none() | longs,
    progress=st.booleans(),
)
results = st.builds(
    InferenceResult,
    request_id=texts,
    status=st.sampled_from(Status),
    model=texts,
    version=texts,
    source=st.builds(Source, texts, ints, longs),
    settings=parameters,
    error=st.none() | st.builds(ErrorInfo, st.sampled_from(Code), texts, st.none() | longs),
    timings=st.builds(Timings, doubles, doubles, doubles, doubles),
    attempt=ints,
    outputs=contents,
    run=ints,
)
progress_events = st.builds(
    ProgressEvent,
    texts,
    st.sampled_from(ProgressStage),
    texts,
    st.none() | longs,
    st.none() | doubles,
    st.none() | blobs,
)
job_records = st.builds(
    JobRecord,
    texts,
    texts,
    texts,
    longs,
    st.none() | st.sampled_from(Status),
    texts,
    st.none() | texts,
    texts,
    ints,
)
batch_records = st.builds(
    BatchRecord, texts, texts, st.sampled_from(BatchKind), longs, texts, ints, texts
)
lifecycle_events = st.builds(
    LifecycleEvent,
    id=texts,
    kind=st.sampled_from(EventKind),
    node=texts,
    time=longs,
    model=st.none() | texts,
    version=st.none() | texts,
    facts=parameters,
)
audit_events = st.builds(
    AuditEvent,
    writer=texts,
    sequence=longs,
    previous=blobs,
    time=longs,
    principal=texts,
    verb=texts,
    decision=st.sampled_from(Decision),
    model=st.none() | texts,
    request_id=st.none() | texts,
    reason=st.none() | texts,
    public_key=blobs,
)
budget_records = st.builds(
    BudgetRecord,
    writer=texts,
    bucket=texts,
    spent=st.floats(allow_nan=False),
    owed=st.floats(allow_nan=False),
)
registry_records = st.builds(
    RegistryRecord,
    kind=st.sampled_from(RegistryKind),
    name=texts,
    version=texts,
    task=texts,
    source=texts,
    writer=texts,
    present=st.booleans(),
    engine=st.none() | texts,
    based_on=st.none() | longs,
    lease_ms=st.none() | longs,
    serves=st.dictionaries(texts, texts, max_size=3),
    partitions=st.lists(ints, max_size=3).map(tuple),
    details=texts,
    declaration=st.none() | texts,
)
metric_samples = st.builds(
    MetricSample,
    node=texts,
    time=longs,
    name=texts,
    value=doubles,
    labels=st.dictionaries(texts, texts, max_size=3),
)
control_commands = st.builds(ControlCommand, st.sampled_from(ControlVerb), texts, texts)


def plain(message: Any) -> Any:
    """A message as dicts, lists and primitives: what any Avro library takes and gives."""
    if is_dataclass(message) and not isinstance(message, type):
        return plain(asdict(message))
    if isinstance(message, Enum):
        return message.value
    if isinstance(message, Mapping):
        return {name: plain(value) for name, value in message.items()}
    if isinstance(message, list | tuple):
        return [plain(value) for value in message]
    return message
