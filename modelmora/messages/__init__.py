"""What travels: the frozen, typed messages of every topic."""

from modelmora.messages.audit import AuditEvent, Decision
from modelmora.messages.batches import BatchKind, BatchRecord
from modelmora.messages.budgets import BudgetRecord
from modelmora.messages.content import (
    ChatMessage,
    Content,
    ObjectRef,
    Parameter,
    SignedRef,
    Tensor,
    ToolCall,
)
from modelmora.messages.control import ControlCommand, ControlVerb, RegistryKind, RegistryRecord
from modelmora.messages.device import DeviceKind
from modelmora.messages.events import (
    FACTS,
    EventKind,
    LifecycleEvent,
    ProgressEvent,
    ProgressStage,
)
from modelmora.messages.health import Health, Holding, State
from modelmora.messages.inference import (
    ErrorInfo,
    InferenceRequest,
    InferenceResult,
    Lane,
    RequestHead,
    ResultHead,
    Source,
    Status,
    Timings,
    is_final,
    is_transient,
    outcome_status,
)
from modelmora.messages.jobs import JobRecord
from modelmora.messages.metrics import BATCH_ROWS, MetricSample

__all__ = [
    "BATCH_ROWS",
    "FACTS",
    "AuditEvent",
    "BatchKind",
    "BatchRecord",
    "BudgetRecord",
    "ChatMessage",
    "Content",
    "ControlCommand",
    "ControlVerb",
    "Decision",
    "DeviceKind",
    "ErrorInfo",
    "EventKind",
    "Health",
    "Holding",
    "InferenceRequest",
    "InferenceResult",
    "JobRecord",
    "Lane",
    "LifecycleEvent",
    "MetricSample",
    "ObjectRef",
    "Parameter",
    "ProgressEvent",
    "ProgressStage",
    "RegistryKind",
    "RegistryRecord",
    "RequestHead",
    "ResultHead",
    "SignedRef",
    "Source",
    "State",
    "Status",
    "Tensor",
    "Timings",
    "ToolCall",
    "is_final",
    "is_transient",
    "outcome_status",
]
