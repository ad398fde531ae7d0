"""The table of tasks: which engine serves each, what it takes. Pure, so the node may ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from modelmora.engines import architectures, graph, pipeline, sentence
from modelmora.engines.files import ModelFiles
from modelmora.engines.text import asking
from modelmora.engines.text import files as text_files
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
    one question, which a client must not send in parts.
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
    warm_up: InferenceRequest | None = None
    """What a child runs before it counts as loaded, so that the first caller waits for nothing."""


# The real model modules, since transformers imports them only when a model of theirs is made.
_SENTENCES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "safetensors.torch",
    "modelmora.engines.embedding",
)
# What a transformers model needs; llama.cpp is imported by the child that computes with it.
_TEXTS = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "safetensors.torch",
    "modelmora.engines.text.transformer",
)
_GENERATION: Mapping[str, ParameterSpec] = {
    "max_tokens": ParameterSpec(int, asking.MAX_TOKENS, minimum=1, maximum=1 << 20),
    "temperature": ParameterSpec(float, asking.TEMPERATURE, minimum=0, maximum=10),
    "top_p": ParameterSpec(float, asking.TOP_P, minimum=0, maximum=1),
    "top_k": ParameterSpec(int, minimum=0, maximum=1 << 20),
    "min_p": ParameterSpec(float, minimum=0, maximum=1),
    "repeat_penalty": ParameterSpec(float, minimum=0.1, maximum=10),
    "presence_penalty": ParameterSpec(float, minimum=-2, maximum=2),
    "frequency_penalty": ParameterSpec(float, minimum=-2, maximum=2),
    "stop": ParameterSpec(list),
    "seed": ParameterSpec(int, minimum=0, maximum=text_files.SEEDS - 2),
    "logprobs": ParameterSpec(int, minimum=0, maximum=20),
    "template": ParameterSpec(bool, default=True),
    "json_schema": ParameterSpec(str),
    "grammar": ParameterSpec(str),
    "loras": ParameterSpec(list),
}
# Pillow and numpy are imported with these; torchvision is not used.
_IMAGES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.tokenization_auto",
    "safetensors.torch",
)
_CLASSES = (
    *_IMAGES,
    "transformers.models.bert.modeling_bert",
    "transformers.models.vit.modeling_vit",
    "modelmora.engines.classes",
    "modelmora.engines.images.classes",
)
_DRAWING = (
    "torch",
    "transformers",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "modelmora.engines.diffusion",
)
_TORCH = (DeviceKind.CUDA, DeviceKind.CPU)
_TRUNCATE = ParameterSpec(bool, default=False)
_MARKER = {"marker": ParameterSpec(str)}


def _first(*inputs: Content, **parameters: Parameter) -> InferenceRequest:
    return InferenceRequest("warm-up", "", inputs, parameters=parameters)


def _test(name: str, parameters: Mapping[str, ParameterSpec]) -> EngineEntry:
    engine = f"modelmora.testing.engines:{name.capitalize()}"
    return EngineEntry(name, engine, parameters, needs_cores=False)


def _count() -> EngineEntry:
    parameters = {
        "words": ParameterSpec(int, 16, minimum=0, maximum=100_000),
        "ms": ParameterSpec(float, 1.0, minimum=0, maximum=60_000),
        "seed": ParameterSpec(int),
        "marker": ParameterSpec(str),
        "fault": ParameterSpec(str, "crash"),
    }
    engine = "modelmora.testing.stepped:Count"
    return EngineEntry("count", engine, parameters, needs_cores=False, slots=16)


CATALOG: Mapping[str, EngineEntry] = {
    "txt2embed": EngineEntry(
        task="txt2embed",
        engine="modelmora.engines.embedding:Embedding",
        parameters={
            "truncate": _TRUNCATE,
            "dimensions": ParameterSpec(int, minimum=1),
            "prompt_name": ParameterSpec(str),
        },
        inputs=frozenset({InputKind.TEXT}),
        devices=_TORCH,
        modules=_SENTENCES,
        read=sentence.read_files,
        warm_up=_first("Hello"),
    ),
    "txt2txt": EngineEntry(
        task="txt2txt",
        engine=text_files.TRANSFORMER_ENGINE,
        parameters=_GENERATION,
        inputs=frozenset({InputKind.TEXT, InputKind.MESSAGE, InputKind.BYTES}),
        modules=_TEXTS,
        read=text_files.read_files,
        slots=text_files.SLOTS,
        warm_up=_first("Hello", max_tokens=1),
    ),
    "classify": EngineEntry(
        task="classify",
        engine=architectures.TEXT_CLASSES,
        parameters={
            "top_k": ParameterSpec(int, 5, minimum=1),
            "truncate": _TRUNCATE,
            "candidate_labels": ParameterSpec(list, minimum=1, maximum=1000),
            "hypothesis_template": ParameterSpec(str),
        },
        inputs=frozenset({InputKind.TEXT, InputKind.BYTES}),
        modules=_CLASSES,
        devices=_TORCH,
        read=architectures.read_classifier,
    ),
    "rerank": EngineEntry(
        task="rerank",
        engine="modelmora.engines.classes:Reranker",
        parameters={"truncate": _TRUNCATE},
        inputs=frozenset({InputKind.TEXT}),
        modules=(*_SENTENCES[:-1], "modelmora.engines.classes"),
        together=True,
        devices=_TORCH,
        read=architectures.read_reranker,
        warm_up=_first("Hello", "Hello"),
    ),
    "img2embed": EngineEntry(
        task="img2embed",
        engine="modelmora.engines.images.vectors:Vectors",
        parameters={"normalize": ParameterSpec(bool), "truncate": _TRUNCATE},
        inputs=frozenset({InputKind.TEXT, InputKind.BYTES}),
        modules=(
            *_IMAGES,
            "transformers.models.clip.modeling_clip",
            "modelmora.engines.images.vectors",
        ),
        devices=_TORCH,
        read=architectures.read_features,
    ),
    "img2txt": EngineEntry(
        task="img2txt",
        engine="modelmora.engines.images.captions:Captions",
        parameters={
            "max_tokens": ParameterSpec(int, 50, minimum=1, maximum=512),
            "temperature": ParameterSpec(float, minimum=0, maximum=2),
            "seed": ParameterSpec(int, minimum=0, maximum=2**63 - 1),
        },
        inputs=frozenset({InputKind.BYTES}),
        modules=(*_IMAGES, "modelmora.engines.images.captions"),
        devices=_TORCH,
        read=architectures.read_captioner,
    ),
    "txt2img": EngineEntry(
        task="txt2img",
        engine="modelmora.engines.diffusion:Diffusion",
        parameters={
            "size": ParameterSpec(str),
            "steps": ParameterSpec(int, minimum=1, maximum=150),
            "guidance": ParameterSpec(float, minimum=0, maximum=50),
            "negative_prompt": ParameterSpec(str),
            "scheduler": ParameterSpec(str),
            "seed": ParameterSpec(int, minimum=0, maximum=2**53 - 1),
            "loras": ParameterSpec(list, maximum=16),
        },
        inputs=frozenset({InputKind.TEXT}),
        modules=_DRAWING,
        read=pipeline.read_files,
    ),
    "tensor": EngineEntry(
        task="tensor",
        engine="modelmora.engines.tensor:Tensors",
        inputs=frozenset({InputKind.TENSOR}),
        modules=("numpy",),  # not onnxruntime, which starts a thread
        read=graph.read_files,
    ),
}
# Served only with `testing: true`.
TESTING: Mapping[str, EngineEntry] = {
    "echo": _test("echo", {}),
    "sleep": _test("sleep", {"ms": ParameterSpec(float, 5.0, minimum=0, maximum=600_000)}),
    "crash": _test("crash", _MARKER),
    "hang": _test("hang", _MARKER),
    "oom": _test("oom", _MARKER),
    "count": _count(),
}


def entry_for(task: str, *, testing: bool = False, engine: str | None = None) -> EngineEntry | None:
    """The engine of a task, or None where none is installed.

    (1) The one that the definition names: another distribution's, if it is of this task. (2)
    ModelMora's own, (3) its test engine, (4) another distribution's under the name of the task.
    A `module:Class` in the definition takes the place of the engine's class alone.
    """
    from modelmora.engines.plugins import registered  # it needs the table above

    if engine and not is_class(engine):
        named = registered().entries.get(engine)
        return named if named and named.task == task else None
    own = CATALOG.get(task) or (TESTING.get(task) if testing else None)
    return own or registered().entries.get(task)


def is_class(engine: str) -> bool:
    """Whether what a definition calls its engine is a class, not a registered name."""
    return ":" in engine


def class_of(entry: EngineEntry, engine: str | None, files: ModelFiles) -> str:
    """The `module:Class` that serves a model: the definition's, the files', or the task's."""
    return engine if engine and is_class(engine) else files.engine or entry.engine


def slots_of(entry: EngineEntry, options: Mapping[str, object]) -> int | None:
    """How many requests a child of a stepped engine takes: what the model's options say, else it.

    None is a batch engine.
    """
    said = options.get("slots")
    return said if entry.slots and isinstance(said, int) and said > 0 else entry.slots


def first_request(entry: EngineEntry, name: str, warm_up: bool | str) -> InferenceRequest | None:
    """What a child of the model runs before it counts as loaded, if anything.

    (1) Its definition switches it off, or the task has none: nothing.
    (2) The definition's own text, with the parameters that the task's first request has.
    (3) That of the task.
    """
    told = entry.warm_up
    # (1)
    if warm_up is False or (warm_up is True and told is None):
        return None
    first = told or _first()
    # (2), (3)
    return replace(first, model=name, inputs=(warm_up,) if warm_up is not True else first.inputs)


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
    defaults = {k: s.default for k, s in entry.parameters.items() if s.default is not None}
    return {**defaults, **parameters}
