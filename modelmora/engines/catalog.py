"""The table of tasks: which engine serves each, what it takes. Pure, so the node may ask it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping

from modelmora.engines import architectures
from modelmora.engines.entries import EngineEntry, InputKind, ParameterSpec, first_of, is_class
from modelmora.engines.graphs import graph
from modelmora.engines.images import pipeline
from modelmora.engines.sentences import sentence
from modelmora.engines.text import asking, pooled
from modelmora.engines.text import files as text_files
from modelmora.engines.text.files import by_form
from modelmora.messages import DeviceKind

_EMBEDDING = "modelmora.engines.sentences.embedding:Embedding"
_RERANKER = "modelmora.engines.sentences.classes:Reranker"
# The real model modules, since transformers imports them only when a model of theirs is made.
_SENTENCES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "safetensors.torch",
    "modelmora.engines.sentences.embedding",
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
    "tools": ParameterSpec(str),
    "tool_choice": ParameterSpec(str),
    "parallel_tool_calls": ParameterSpec(bool),
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
    "modelmora.engines.sentences.classes",
    "modelmora.engines.images.classes",
)
_DRAWING = (
    "torch",
    "transformers",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "modelmora.engines.images.diffusion",
)
_OF_TEXTS = ("device", "form", "intra_op", "onnx", "providers", "token_budget")
_OF_IMAGES = ("device", "batch_size")
_TORCH = (DeviceKind.CUDA, DeviceKind.CPU)
_TRUNCATE = ParameterSpec(bool, default=False)
_MARKER = {"marker": ParameterSpec(str)}
_GREY = b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwj"
    b"WgAAmZAAoFDIQrAAAAAASUVORK5CYII="
)
"""A grey PNG of 16 x 16 pixels."""


def _test(name: str, parameters: Mapping[str, ParameterSpec]) -> EngineEntry:
    engine = f"modelmora.testing.engines:{name.capitalize()}"
    return EngineEntry(name, engine, parameters, needs_cores=False)


def _count() -> EngineEntry:
    parameters = {
        "words": ParameterSpec(int, 16, minimum=0, maximum=100_000),
        "ms": ParameterSpec(float, 1.0, minimum=0, maximum=60_000),
        "seed": ParameterSpec(int),
        "clock": ParameterSpec(bool),
        "marker": ParameterSpec(str),
        "fault": ParameterSpec(str, "crash"),
    }
    engine = "modelmora.testing.stepped:Count"
    return EngineEntry("count", engine, parameters, needs_cores=False, slots=16)


CATALOG: Mapping[str, EngineEntry] = {
    "txt2embed": EngineEntry(
        task="txt2embed",
        engine=_EMBEDDING,
        parameters={
            "truncate": _TRUNCATE,
            "dimensions": ParameterSpec(int, minimum=1),
            "prompt_name": ParameterSpec(str),
        },
        inputs=frozenset({InputKind.TEXT}),
        devices=_TORCH,
        modules=_SENTENCES,
        read=by_form(pooled.read_vectors, sentence.read_files),
        adapters=frozenset({_EMBEDDING, sentence.LIBRARY}),
        warm_up=first_of("Hello"),
        options=_OF_TEXTS,
    ),
    "txt2txt": EngineEntry(
        task="txt2txt",
        engine=text_files.TRANSFORMER_ENGINE,
        parameters=_GENERATION,
        inputs=frozenset({InputKind.TEXT, InputKind.MESSAGE, InputKind.BYTES}),
        modules=_TEXTS,
        read=text_files.read_files,
        adapters=frozenset({text_files.TRANSFORMER_ENGINE, text_files.GGUF_ENGINE}),
        slots=text_files.SLOTS,
        warm_up=first_of("Hello", max_tokens=1),
        options=("context_length", "device", "slots", "token_pool"),
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
        adapters=frozenset({architectures.TEXT_CLASSES, architectures.IMAGE_CLASSES}),
        warm_ups={
            architectures.TEXT_CLASSES: first_of("Hello"),
            architectures.IMAGE_CLASSES: first_of(_GREY),
            architectures.ZERO_SHOT: first_of(_GREY, candidate_labels=("grey", "green")),
        },
        options=(*_OF_TEXTS, "batch_size"),
    ),
    "rerank": EngineEntry(
        task="rerank",
        engine=_RERANKER,
        parameters={"truncate": _TRUNCATE},
        inputs=frozenset({InputKind.TEXT}),
        modules=(*_SENTENCES[:-1], "modelmora.engines.sentences.classes"),
        together=True,
        devices=_TORCH,
        read=by_form(pooled.read_scores, architectures.read_reranker),
        adapters=frozenset({_RERANKER}),
        warm_up=first_of("Hello", "Hello"),
        options=_OF_TEXTS,
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
        warm_up=first_of(_GREY),
        options=_OF_IMAGES,
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
        warm_up=first_of(_GREY, max_tokens=1),
        options=_OF_IMAGES,
    ),
    "txt2img": EngineEntry(
        task="txt2img",
        engine="modelmora.engines.images.diffusion:Diffusion",
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
        warm_up=first_of("Hello"),
        options=("batch", "device", "dtype", "guidance", "max_pixels", "steps"),
    ),
    "tensor": EngineEntry(
        task="tensor",
        engine="modelmora.engines.graphs.tensor:Tensors",
        inputs=frozenset({InputKind.TENSOR}),
        modules=("numpy",),  # not onnxruntime, which starts a thread
        read=graph.read_files,
        options=("batch", "device", "intra_op", "providers"),
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
