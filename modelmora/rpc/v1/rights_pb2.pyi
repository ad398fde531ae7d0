from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListRightsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetRoleRequest(_message.Message):
    __slots__ = ("name", "rules")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    name: str
    rules: _containers.RepeatedCompositeFieldContainer[RightsRule]
    def __init__(self, name: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[RightsRule, _Mapping]]] = ...) -> None: ...

class SetGrantRequest(_message.Message):
    __slots__ = ("principal", "roles")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    principal: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, principal: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class RightsRule(_message.Message):
    __slots__ = ("verbs", "models", "lanes", "effect")
    VERBS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    verbs: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    lanes: _containers.RepeatedScalarFieldContainer[str]
    effect: str
    def __init__(self, verbs: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., lanes: _Optional[_Iterable[str]] = ..., effect: _Optional[str] = ...) -> None: ...

class Role(_message.Message):
    __slots__ = ("name", "told_by", "rules")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOLD_BY_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    name: str
    told_by: str
    rules: _containers.RepeatedCompositeFieldContainer[RightsRule]
    def __init__(self, name: _Optional[str] = ..., told_by: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[RightsRule, _Mapping]]] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("principal", "told_by", "roles")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    TOLD_BY_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    principal: str
    told_by: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, principal: _Optional[str] = ..., told_by: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class Rights(_message.Message):
    __slots__ = ("told", "roles", "grants")
    TOLD_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    told: bool
    roles: _containers.RepeatedCompositeFieldContainer[Role]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    def __init__(self, told: _Optional[bool] = ..., roles: _Optional[_Iterable[_Union[Role, _Mapping]]] = ..., grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ...) -> None: ...
