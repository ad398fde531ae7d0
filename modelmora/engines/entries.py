"""What the node knows of an engine without importing it, and what follows from that; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from modelmora.engines.files import ModelFiles, broken
from modelmora.engines.options import check_options, option
from modelmora.errors import Code, RequestError
from modelmora.messages import (
    ChatMessage,
    Content,
    DeviceKind,
    InferenceRequest,
    ObjectRef,
    Parameter,
    Tensor,
)


class InputKind(StrEnum):
    """The kinds of content that an engine may accept."""

    TEXT = "text"
    BYTES = "bytes"
    TENSOR = "tensor"
    OBJECT = "object"
    MESSAGE = "message"


_KINDS: tuple[tuple[type, InputKind], ...] = (
    (str, InputKind.TEXT),
    (bytes, InputKind.BYTES),
    (Tensor, InputKind.TENSOR),
    (ObjectRef, InputKind.OBJECT),
    (ChatMessage, InputKind.MESSAGE),
)
_TYPE_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array of strings",
}
_ACCEPTED: Mapping[type, tuple[type, ...]] = {float: (int, float), list: (tuple,)}


def kind_of(content: Content) -> InputKind:
    """The kind of one input or output."""
    return next(kind for cls, kind in _KINDS if isinstance(content, cls))


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One accepted parameter; `default` None means that it is left out unless given.

    The type `list` stands for an array of strings, whose value is a tuple; minimum and maximum
    are of its length.
    """

    type: type[bool] | type[int] | type[float] | type[str] | type[list[str]]
    default: Parameter = None
    minimum: float | None = None
    maximum: float | None = None

    def check(self, name: str, value: Parameter) -> None:
        """Raises RequestError (invalid_input) unless the value is of this type and range."""
        accepted = _ACCEPTED.get(self.type, (self.type,))
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.type is not bool):
            raise RequestError(
                Code.INVALID_INPUT, f"parameter `{name}` must be {_TYPE_NAMES[self.type]}"
            )
        number = len(value) if isinstance(value, tuple) else value
        if isinstance(number, int | float) and not (
            (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
        ):
            what = "the length of parameter" if isinstance(value, tuple) else "parameter"
            raise RequestError(
                Code.INVALID_INPUT,
                f"{what} `{name}` must {_range(self.minimum, self.maximum)}",
            )


def _range(minimum: float | None, maximum: float | None) -> str:
    if maximum is None:
        return f"be at least {minimum}"
    if minimum is None:
        return f"be at most {maximum}"
    return f"lie between {minimum} and {maximum}"


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """What the node knows of an engine without importing it.

    `engine` is `module:Class`; `needs_cores` says whether it computes on CPU threads (the test
    engines do not, so they take none from the others). `devices` are the kinds it computes on, the
    preferred one first. `modules` are imported once for all its processes, before they start.
    `read` looks at a model's files and raises LoadError. `slots` is how many requests a stepped
    engine steps at once; None is a batch engine. `together` says that the inputs of a request are
    one question, which a client must not send in parts. `options` are those that it takes when a
    model is loaded, of the table in `options`; None: only its engine knows.
    """

    task: str
    engine: str
    parameters: Mapping[str, ParameterSpec] = field(default_factory=dict)
    inputs: frozenset[InputKind] = frozenset(InputKind)
    needs_cores: bool = True
    devices: tuple[DeviceKind, ...] = (DeviceKind.CPU,)
    modules: tuple[str, ...] = ()
    read: Callable[[Path], ModelFiles] | None = None
    slots: int | None = None
    together: bool = False
    options: tuple[str, ...] | None = None
    warm_up: InferenceRequest | None = None
    """What a child runs before it counts as loaded, so that the first caller waits for nothing."""
    warm_ups: Mapping[str, InferenceRequest] = field(default_factory=dict)
    """That by class, where the files decide which it is."""


def is_class(engine: str) -> bool:
    """Whether what a definition calls its engine is a class, not a registered name."""
    return ":" in engine


def class_of(entry: EngineEntry, engine: str | None, files: ModelFiles) -> str:
    """The `module:Class` that serves a model: the definition's, the files', or the task's."""
    return engine if engine and is_class(engine) else files.engine or entry.engine


def slots_of(entry: EngineEntry, options: Mapping[str, object]) -> int | None:
    """How many requests a child of a stepped engine takes: what the model's options say, else it.

    None is a batch engine. Raises LoadError (cannot_be_served) for what is no such number.
    """
    return None if entry.slots is None else option(options, "slots", entry.slots)


def first_of(*inputs: Content, **parameters: Parameter) -> InferenceRequest:
    """A request that nobody sent."""
    return InferenceRequest("warm-up", "", inputs, parameters=parameters)


def first_request(
    entry: EngineEntry, name: str, warm_up: bool | str, engine: str = ""
) -> InferenceRequest | None:
    """What a child of the model, of this class, runs before it counts as loaded, if anything.

    (1) Its definition switches it off, or the task has none: nothing.
    (2) The definition's own text, with the parameters that the task's first request has.
    (3) That of the task. Both run with the model's defaults else.
    """
    told = entry.warm_ups.get(engine, entry.warm_up)
    # (1)
    if warm_up is False or (warm_up is True and told is None):
        return None
    first = told or first_of()
    # (2), (3)
    inputs = first.inputs if warm_up is True else (warm_up,)
    return replace(
        first, model=name, inputs=inputs, parameters=over_defaults(entry, first.parameters)
    )


def for_model(
    entry: EngineEntry,
    parameters: Mapping[str, Parameter],
    options: Mapping[str, object],
    engine: str | None = None,
) -> EngineEntry:
    """The entry as a model has it, once its options are found to be such as the engine takes.

    `engine` is what its definition names; of the options of a class only the class knows. Raises
    LoadError as `with_defaults`, and for an option.
    """
    if entry.options is not None and not (engine and is_class(engine)):
        check_options(f"task {entry.task}", options, entry.options)
    slots_of(entry, options)
    return with_defaults(entry, parameters)


def with_defaults(entry: EngineEntry, told: Mapping[str, Parameter]) -> EngineEntry:
    """The engine's entry with a model's own defaults in place of its own.

    Raises LoadError where it takes no such parameter, or not such a value.
    """
    try:
        settings_for(entry, told)
    except RequestError as error:
        raise broken(f"its parameters: {error.message}") from None
    specs = {name: replace(entry.parameters[name], default=value) for name, value in told.items()}
    return replace(entry, parameters={**entry.parameters, **specs}) if specs else entry


def over_defaults(entry: EngineEntry, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Parameters over the defaults."""
    defaults = {k: s.default for k, s in entry.parameters.items() if s.default is not None}
    return {**defaults, **parameters}


def settings_for(
    entry: EngineEntry, parameters: Mapping[str, Parameter]
) -> Mapping[str, Parameter]:
    """The settings that a request runs with: its parameters over the defaults.

    Raises RequestError: unknown_parameter for a name, invalid_input for a value.
    """
    for name, value in parameters.items():
        spec = entry.parameters.get(name)
        if spec is None:
            known = ", ".join(sorted(entry.parameters)) or "none"
            raise RequestError(
                Code.UNKNOWN_PARAMETER,
                f"task {entry.task} takes no `{name[:96]}`; it knows: {known}",
            )
        spec.check(name, value)
    return over_defaults(entry, parameters)
