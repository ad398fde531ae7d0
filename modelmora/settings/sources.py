"""Where settings come from: a YAML file, `MODELMORA_*` variables, flags; each knows its places."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, SecretStr

from modelmora.errors import ConfigurationError
from modelmora.settings.fields import Settings
from modelmora.text import nearest, printable

PREFIX = "MODELMORA_"
NESTED = "__"
CONFIG_VARIABLE = PREFIX + "CONFIG"
NOTIFY_VARIABLE = PREFIX + "NOTIFY_FD"
_OTHERS = frozenset({CONFIG_VARIABLE, NOTIFY_VARIABLE})
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables, and the
# links of Docker that they are made after. A service `modelmora-http` makes MODELMORA_HTTP_PORT.
_LINK_NAME = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://\S+")
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_PROBLEMS = {
    "'\\t'": "a tab stands where only spaces may",
    "'@'": "text that begins with @ must be in quotes",
    "'`'": "text that begins with ` must be in quotes",
    "'%'": "text that begins with % must be in quotes",
    "mapping values are not allowed": "a second `: ` in one line; is text to be in quotes?",
    "could not determine a constructor": "tags such as !!python are not known here",
    "found unhashable key": "the name of a setting must be text",
    "found undefined alias": "text that begins with * must be in quotes",
    "<stream end>": "it ends within a list, a mapping or a quotation",
    "special characters are not allowed": "there are control characters in it",
    "another document": "it holds several documents (`---`)",
}
"""What PyYAML finds most, in our words."""

Path_ = tuple[str | int, ...]
"""Where a setting stands: ("models", 0, "name")."""


@dataclass(frozen=True, slots=True)
class Source:
    """Settings of one origin: nested values, and for each path how people find it."""

    values: Mapping[str, Any]
    places: Mapping[Path_, str] = field(default_factory=dict)
    takes_secrets: bool = False


def merged(*sources: Source) -> dict[str, Any]:
    """The values of all, later ones over earlier ones, sections key by key."""
    result: dict[str, Any] = {}
    for source in sources:
        _lay_over(result, source.values)
    return result


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict):
            if not isinstance(below.get(key), dict):
                below[key] = {}
            _lay_over(below[key], value)
        else:
            below[key] = value


def from_flags(flags: Mapping[str, Any]) -> Source:
    """Flags of a command; None was not given."""
    given = {name: value for name, value in flags.items() if value is not None}
    return Source(given, {(name,): "--" + name.replace("_", "-") for name in given})


def setting_paths(section: type[BaseModel] = Settings) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every section and setting by its path, with its type; a section comes before its parts."""
    for name, info in section.model_fields.items():
        yield (name,), info.annotation
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            for path, kind in setting_paths(info.annotation):
                yield (name, *path), kind


def is_secret(kind: Any) -> bool:
    """Whether a setting of this type holds a secret, or several."""
    return kind is SecretStr or any(map(is_secret, get_args(kind)))


def variable_of(path: tuple[str, ...]) -> str:
    """The variable of a setting: `MODELMORA_LIMITS__REQUEST_BYTES`."""
    return PREFIX + NESTED.join(path).upper()


def from_variables(environment: Mapping[str, str]) -> Source:
    """Our variables; an empty one was not given, one of a service link is not ours.

    Sections and `models` are JSON. Raises ConfigurationError for a name that we do not know.
    """
    known = {variable_of(path): (path, kind) for path, kind in setting_paths()}
    given = {
        name.upper(): (name, text) for name, text in environment.items() if _is_ours(name, text)
    }
    if unknown := sorted(given.keys() - known.keys() - _OTHERS):
        name = given[unknown[0]][0]
        near = nearest(
            unknown[0].removeprefix(PREFIX), (each.removeprefix(PREFIX) for each in known)
        )
        raise ConfigurationError(
            f"{printable(name)} is no variable of ModelMora"
            + (f"; did you mean {PREFIX}{near}?" if near else "; see `modelmora config show`")
        )
    values: dict[str, Any] = {}
    places: dict[Path_, str] = {}
    for key, (path, kind) in known.items():  # sections first, so that their parts lie above them
        if key in given:
            name, text = given[key]
            value = _read(name, text, kind) if _is_json(kind) else text
            _lay_over(values, _nested(path, value))
            places |= {(*path, *below): name for below in _paths_in(value)}
    return Source(values, places, takes_secrets=True)


def _paths_in(value: Any) -> Iterator[Path_]:
    yield ()
    for key, below in value.items() if isinstance(value, dict) else ():
        yield from ((key, *path) for path in _paths_in(below))


def _is_ours(name: str, text: str) -> bool:
    link = _LINK_NAME.fullmatch(name.upper()) or _LINK_VALUE.fullmatch(text)
    return bool(name.upper().startswith(PREFIX) and text and not link)


def _is_json(kind: Any) -> bool:
    return _is_section(kind) or str(kind).startswith(("tuple", "dict"))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _read(name: str, text: str, kind: Any) -> Any:
    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in members).items():
            if count > 1:
                raise ConfigurationError(f"{printable(name)}: {printable(key)} is there twice")
        return dict(members)

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{printable(name)} must be JSON, such as '{_example(kind)}'"
        ) from None


def _example(kind: Any) -> str:
    if not str(kind).startswith("tuple"):
        return '{"key": 1}'
    return '[{"name": "my-model"}]' if _is_section(get_args(kind)[0]) else '["one", "two"]'


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def from_file(path: Path | None) -> Source:
    """A YAML file. Raises ConfigurationError, with the line, for what is no mapping of settings."""
    if path is None:
        return Source({})
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        node = loader.get_single_node()
        places: dict[Path_, str] = {}
        if node is None:
            return Source({})
        _find_places(node, (), places, path)
        values = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", error))
        told = next((ours for theirs, ours in _PROBLEMS.items() if theirs in problem), problem)
        raise ConfigurationError(f"{path}{line} is not valid YAML: {told}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not a text in UTF-8") from None
    except RecursionError:
        raise ConfigurationError(
            f"{path} is nested too deeply, or a part stands in itself"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if values is None:
        return Source({})
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must be a mapping of settings, such as `http_port: 8080`")
    sections = {path[0] for path, kind in setting_paths() if _is_json(kind)}
    # A section whose parts are all commented out is null.
    given = {key: each for key, each in values.items() if each is not None or key not in sections}
    return Source(given, places)


def _find_places(node: yaml.Node, at: Path_, places: dict[Path_, str], path: Path) -> None:
    """Note the line of every key; one that stands twice is refused, YAML would keep the last."""
    children: list[tuple[str | int, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            # `1`, `yes` and `~` name no setting, but as they are written.
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(number, each, each) for number, each in enumerate(node.value)]
    for name, key, value in children:
        here = (*at, name)
        place = f"{path} line {key.start_mark.line + 1}"
        if here in places:
            first = places[here].removeprefix(f"{path} ")
            raise ConfigurationError(f"{place}: {name} is there twice, first in {first}")
        places[here] = place
        _find_places(value, here, places, path)
