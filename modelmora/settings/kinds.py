"""What a single setting may be: names, ports, paths, spans of time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from modelmora import addresses

YEAR_S = 31_536_000
"""As good as for ever, and still a time that every clock can wait for."""


def _path(given: object) -> object:
    """`~` is the home; what is empty is refused, for Path takes it for the working directory."""
    if not isinstance(given, str):
        return given
    if not given.strip() or "\0" in given:
        raise PydanticCustomError("no_path", "no path")
    return os.path.expanduser(given)  # noqa: PTH111  (that of pathlib raises without a home)


def _servers(given: str) -> str:
    for server in given.split(","):
        addresses.split(server)
    return given


# `form` says in words what a pattern says, to people and in the JSON Schema.
ModelName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$"),
    Field(json_schema_extra={"form": "up to 96 of a-z 0-9 . _ -, first a letter or digit"}),
]
ModelVersion = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    Field(json_schema_extra={"form": "up to 64 of A-Z a-z 0-9 . _ -, first a letter or digit"}),
]
Namespace = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    Field(json_schema_extra={"form": "up to 64 of a-z 0-9 . _ -, first a letter or digit"}),
]
MemberId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$"),
    Field(json_schema_extra={"form": "up to 200 of A-Z a-z 0-9 . _ -"}),
]
RegistryUrl = Annotated[
    str,
    StringConstraints(pattern=r"^(https?|mock)://[^@\s]+$"),
    Field(json_schema_extra={"form": "http://host:port without a user in it"}),
]
TopicPattern = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._*-]{1,249}$"),
    Field(json_schema_extra={"form": "a topic's name, * for any characters"}),
]
RuntimeName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    Field(json_schema_extra={"form": "up to 64 of a-z 0-9 . _ -, first a letter or digit"}),
]
Port = Annotated[int, Field(ge=0, le=65535)]
Host = Annotated[
    str,
    StringConstraints(pattern=r"^\S+$"),
    Field(json_schema_extra={"form": "an address or name of this machine, such as 127.0.0.1"}),
]
Servers = Annotated[str, AfterValidator(_servers)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Command = Annotated[tuple[str, ...], Field(min_length=1)]
Runtime = FilePath | Command
"""A Python, or a program of its own with its arguments."""
Span = Annotated[float, Field(le=YEAR_S)]
