from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeadLetter(_message.Message):
    __slots__ = ("place", "time_ms", "request_id", "model", "run", "code", "reason", "source", "attempt", "worker_exit_code", "size_bytes", "cut", "replayed", "headers", "request")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    WORKER_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    place: str
    time_ms: int
    request_id: str
    model: str
    run: int
    code: str
    reason: str
    source: str
    attempt: int
    worker_exit_code: int
    size_bytes: int
    cut: bool
    replayed: Replay
    headers: _containers.RepeatedCompositeFieldContainer[DeadLetterHeader]
    request: str
    def __init__(self, place: _Optional[str] = ..., time_ms: _Optional[int] = ..., request_id: _Optional[str] = ..., model: _Optional[str] = ..., run: _Optional[int] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., source: _Optional[str] = ..., attempt: _Optional[int] = ..., worker_exit_code: _Optional[int] = ..., size_bytes: _Optional[int] = ..., cut: _Optional[bool] = ..., replayed: _Optional[_Union[Replay, _Mapping]] = ..., headers: _Optional[_Iterable[_Union[DeadLetterHeader, _Mapping]]] = ..., request: _Optional[str] = ...) -> None: ...

class DeadLetterHeader(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Replay(_message.Message):
    __slots__ = ("run", "to", "time_ms")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    run: int
    to: str
    time_ms: int
    def __init__(self, run: _Optional[int] = ..., to: _Optional[str] = ..., time_ms: _Optional[int] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("code", "model", "since", "before", "page_size", "page_token")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    code: str
    model: str
    since: str
    before: str
    page_size: int
    page_token: str
    def __init__(self, code: _Optional[str] = ..., model: _Optional[str] = ..., since: _Optional[str] = ..., before: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters", "next_page_token")
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_page_token: str
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDeadLettersRequest(_message.Message):
    __slots__ = ("which", "content")
    WHICH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    which: str
    content: bool
    def __init__(self, which: _Optional[str] = ..., content: _Optional[bool] = ...) -> None: ...

class GetDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters",)
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ...) -> None: ...

class ReplayDeadLettersRequest(_message.Message):
    __slots__ = ("which", "code", "model", "since", "all", "again", "dry_run")
    WHICH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    which: _containers.RepeatedScalarFieldContainer[str]
    code: str
    model: str
    since: str
    all: bool
    again: bool
    dry_run: bool
    def __init__(self, which: _Optional[_Iterable[str]] = ..., code: _Optional[str] = ..., model: _Optional[str] = ..., since: _Optional[str] = ..., all: _Optional[bool] = ..., again: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ReplayDeadLettersResponse(_message.Message):
    __slots__ = ("reruns", "left_out")
    RERUNS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    reruns: _containers.RepeatedCompositeFieldContainer[Rerun]
    left_out: int
    def __init__(self, reruns: _Optional[_Iterable[_Union[Rerun, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class Rerun(_message.Message):
    __slots__ = ("place", "request_id", "run", "to", "why")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    place: str
    request_id: str
    run: int
    to: str
    why: str
    def __init__(self, place: _Optional[str] = ..., request_id: _Optional[str] = ..., run: _Optional[int] = ..., to: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class PurgeDeadLettersRequest(_message.Message):
    __slots__ = ("which", "code", "model", "before", "all", "dry_run")
    WHICH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    which: _containers.RepeatedScalarFieldContainer[str]
    code: str
    model: str
    before: str
    all: bool
    dry_run: bool
    def __init__(self, which: _Optional[_Iterable[str]] = ..., code: _Optional[str] = ..., model: _Optional[str] = ..., before: _Optional[str] = ..., all: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class PurgeDeadLettersResponse(_message.Message):
    __slots__ = ("purged", "removed")
    PURGED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    purged: int
    removed: int
    def __init__(self, purged: _Optional[int] = ..., removed: _Optional[int] = ...) -> None: ...
