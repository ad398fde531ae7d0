"""The protos are named by the style guide, and stay as those who have compiled them need them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from modelmora.rpc.v1 import (
    audit_pb2,
    deadletters_pb2,
    inference_pb2,
    management_pb2,
    registry_pb2,
    rights_pb2,
)

ROOT = Path(__file__).parents[3]
PROTOS = ROOT / "protos"
HISTORY = PROTOS / "history.json"
"""A FileDescriptorSet in JSON; `python -m tests.unit.gateway.test_proto_rules` adds what is new."""
FILES = (
    inference_pb2,
    management_pb2,
    registry_pb2,
    rights_pb2,
    deadletters_pb2,
    audit_pb2,
)
Known = dict[str, Any]


def current() -> FileDescriptorSet:
    found = FileDescriptorSet()
    for file in FILES:
        file.DESCRIPTOR.CopyToProto(found.file.add())
    return found


def messages(
    file: FileDescriptorProto | DescriptorProto, prefix: str
) -> Iterator[tuple[str, DescriptorProto]]:
    nested = file.message_type if isinstance(file, FileDescriptorProto) else file.nested_type
    for message in nested:
        yield f"{prefix}.{message.name}", message
        yield from messages(message, f"{prefix}.{message.name}")


def known(files: FileDescriptorSet) -> Known:
    """What those who compiled it rely on, by name: fields by number, methods, enum values."""
    found: Known = {}
    for file in files.file:
        for name, message in messages(file, file.package):
            found[name] = "message"
            for field in message.field:
                found[f"{name}#{field.number}"] = shape(field, message)
        for service in file.service:
            for method in service.method:
                ways = (method.client_streaming, method.server_streaming)
                path = f"{file.package}.{service.name}/{method.name}"
                found[path] = (method.input_type, method.output_type, *ways)
        for enum in file.enum_type:
            for value in enum.value:
                found[f"{file.package}.{enum.name}#{value.number}"] = value.name
    return found


def shape(field: FieldDescriptorProto, message: DescriptorProto) -> tuple[Any, ...]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return (field.name, field.type, field.label, field.type_name, oneof, field.proto3_optional)


def broken(then: FileDescriptorSet, now: FileDescriptorSet) -> list[str]:
    """What is not as it was; what was added breaks nobody."""
    today = known(now)
    return [name for name, what in known(then).items() if today.get(name) != what]


def history() -> FileDescriptorSet:
    found: FileDescriptorSet = json_format.Parse(HISTORY.read_text(), FileDescriptorSet())
    return found


def test_nothing_that_was_compiled_once_is_broken() -> None:
    assert broken(history(), current()) == []


def test_what_is_there_is_in_the_history() -> None:
    assert known(history()) == known(current()), "python -m tests.unit.gateway.test_proto_rules"


def renumbered(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].number = 99


def renamed(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].name = "other"


def retyped(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].type = FieldDescriptorProto.TYPE_BYTES


def into_a_oneof(file: FileDescriptorProto) -> None:
    file.message_type[0].oneof_decl.add(name="kind")
    file.message_type[0].field[0].oneof_index = len(file.message_type[0].oneof_decl) - 1


def without_a_method(file: FileDescriptorProto) -> None:
    del file.service[0].method[0]


def streaming(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = True


def without_a_message(file: FileDescriptorProto) -> None:
    del file.message_type[-1]


def in_another_package(file: FileDescriptorProto) -> None:
    file.package = "modelmora.v2"


@pytest.mark.parametrize(
    "change",
    [
        renumbered,
        renamed,
        retyped,
        into_a_oneof,
        without_a_method,
        streaming,
        without_a_message,
        in_another_package,
    ],
)
def test_what_breaks_is_seen(change: Any) -> None:
    changed = deepcopy(current())
    change(changed.file[0])
    assert broken(current(), changed)


def test_additions_break_nobody() -> None:
    more = deepcopy(current())
    more.file[0].message_type[0].field.add(name="more", number=1000)
    more.file[0].message_type.add(name="More")
    more.file[0].service[0].method.add(name="More")
    assert broken(current(), more) == []
    assert known(current()) != known(more)


SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PASCAL = re.compile(r"([A-Z][a-z0-9]+)+")


def test_names_follow_the_style_guide() -> None:
    """https://protobuf.dev/programming-guides/style, as buf's STANDARD rules check it."""
    for file in current().file:
        assert file.syntax == "proto3"
        assert re.fullmatch(r"([a-z0-9]+\.)+v\d+", file.package)
        assert file.name == f"modelmora/rpc/v1/{Path(file.name).name}"
        for name, message in messages(file, file.package):
            assert PASCAL.fullmatch(message.name), name
            for field in message.field:
                assert SNAKE.fullmatch(field.name), f"{name}.{field.name}"
            for oneof in message.oneof_decl:
                assert SNAKE.fullmatch(oneof.name.removeprefix("_")), f"{name}.{oneof.name}"
        for service in file.service:
            assert service.name.endswith("Service")
            for method in service.method:
                assert PASCAL.fullmatch(method.name)
        for enum in file.enum_type:
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
            assert enum.value[0].name == f"{prefix}_UNSPECIFIED"
            assert enum.value[0].number == 0


@pytest.mark.parametrize(
    "path", sorted((PROTOS / "modelmora/rpc/v1").glob("*.proto")), ids=lambda path: str(path.stem)
)
def test_services_and_methods_are_described(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// ")
    blocks = re.findall(r"^service \w+ \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    for block in blocks:
        methods = re.findall(r"^  rpc (\w+)", block, re.MULTILINE)
        assert methods
        described = re.findall(r"^  // .*\n  rpc (\w+)", block, re.MULTILINE)
        assert methods == described


def test_methods_of_jobs_have_a_request_of_their_own() -> None:
    """So that each can be asked more one day; what is inferred is asked in one way everywhere."""
    taken = [
        method.input_type.name
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.name.startswith("Infer") and service.name != "ManagementService"
    ]
    assert len(taken) == len(set(taken))


if __name__ == "__main__":
    if HISTORY.exists() and (changes := broken(history(), current())):
        raise SystemExit(f"this breaks those who have compiled it: {', '.join(changes)}")
    HISTORY.write_text(json_format.MessageToJson(current(), indent=1) + "\n")
