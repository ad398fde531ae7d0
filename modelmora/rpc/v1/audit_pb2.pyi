from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditRecord(_message.Message):
    __slots__ = ("place", "time_ms", "writer", "sequence", "principal", "verb", "model", "decision", "reason", "request_id")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    place: str
    time_ms: int
    writer: str
    sequence: int
    principal: str
    verb: str
    model: str
    decision: str
    reason: str
    request_id: str
    def __init__(self, place: _Optional[str] = ..., time_ms: _Optional[int] = ..., writer: _Optional[str] = ..., sequence: _Optional[int] = ..., principal: _Optional[str] = ..., verb: _Optional[str] = ..., model: _Optional[str] = ..., decision: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ListAuditRecordsRequest(_message.Message):
    __slots__ = ("principal", "verb", "model", "decision", "since", "before", "page_size", "page_token")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    principal: str
    verb: str
    model: str
    decision: str
    since: str
    before: str
    page_size: int
    page_token: str
    def __init__(self, principal: _Optional[str] = ..., verb: _Optional[str] = ..., model: _Optional[str] = ..., decision: _Optional[str] = ..., since: _Optional[str] = ..., before: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAuditRecordsResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[AuditRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyAuditRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyAuditResponse(_message.Message):
    __slots__ = ("holds", "records", "repeated", "heads", "findings", "faults", "writers")
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    holds: bool
    records: int
    repeated: int
    heads: int
    findings: _containers.RepeatedCompositeFieldContainer[AuditFinding]
    faults: int
    writers: _containers.RepeatedCompositeFieldContainer[AuditWriter]
    def __init__(self, holds: _Optional[bool] = ..., records: _Optional[int] = ..., repeated: _Optional[int] = ..., heads: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[AuditFinding, _Mapping]]] = ..., faults: _Optional[int] = ..., writers: _Optional[_Iterable[_Union[AuditWriter, _Mapping]]] = ...) -> None: ...

class AuditFinding(_message.Message):
    __slots__ = ("fault", "place", "writer", "message")
    FAULT_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fault: str
    place: str
    writer: str
    message: str
    def __init__(self, fault: _Optional[str] = ..., place: _Optional[str] = ..., writer: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AuditWriter(_message.Message):
    __slots__ = ("writer", "public_key", "first", "last", "heads", "ended", "lost")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    writer: str
    public_key: str
    first: int
    last: int
    heads: int
    ended: bool
    lost: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, writer: _Optional[str] = ..., public_key: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., heads: _Optional[int] = ..., ended: _Optional[bool] = ..., lost: _Optional[_Iterable[str]] = ...) -> None: ...
