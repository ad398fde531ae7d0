from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrderRequest(_message.Message):
    __slots__ = ("model", "wait_ms", "everywhere")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    EVERYWHERE_FIELD_NUMBER: _ClassVar[int]
    model: str
    wait_ms: int
    everywhere: bool
    def __init__(self, model: _Optional[str] = ..., wait_ms: _Optional[int] = ..., everywhere: _Optional[bool] = ...) -> None: ...

class OrderReply(_message.Message):
    __slots__ = ("done", "models")
    DONE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    done: bool
    models: _containers.RepeatedCompositeFieldContainer[ModelHealth]
    def __init__(self, done: _Optional[bool] = ..., models: _Optional[_Iterable[_Union[ModelHealth, _Mapping]]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelHealth]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelHealth, _Mapping]]] = ...) -> None: ...

class ModelHealth(_message.Message):
    __slots__ = ("node", "name", "version", "state", "reason", "task", "device", "pid", "memory_bytes", "gpu_bytes", "waiting", "running", "idle_s", "leaves_s", "pinned")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPU_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    LEAVES_S_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    node: str
    name: str
    version: str
    state: str
    reason: str
    task: str
    device: str
    pid: int
    memory_bytes: int
    gpu_bytes: int
    waiting: int
    running: int
    idle_s: float
    leaves_s: float
    pinned: bool
    def __init__(self, node: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., task: _Optional[str] = ..., device: _Optional[str] = ..., pid: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., gpu_bytes: _Optional[int] = ..., waiting: _Optional[int] = ..., running: _Optional[int] = ..., idle_s: _Optional[float] = ..., leaves_s: _Optional[float] = ..., pinned: _Optional[bool] = ...) -> None: ...
