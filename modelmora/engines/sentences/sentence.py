"""Reads what a sentence-embedding model's own files say: modules, pooling, length, prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.adapters import ADAPTER_CONFIG
from modelmora.engines.files import (
    ModelFiles,
    Shape,
    broken,
    read_bytes,
    read_json,
    read_weights,
)
from modelmora.engines.graphs.forms import is_graph, read_network, read_text_graph
from modelmora.engines.sentences.steps import (
    FAST,
    MODULES,
    SentenceStep,
    are_fast,
    check_weights,
    read_steps,
)
from modelmora.errors import Code, RequestError
from modelmora.messages import Parameter
from modelmora.text import counted

# File layout and names: Sentence Transformers (modules.json, <n>_Pooling/config.json and
# sentence_<type>_config.json), current and older releases.
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
LIBRARY = "modelmora.engines.sentences.library:Library"
_LIBRARY_MODULES = ("sentence_transformers", "modelmora.engines.sentences.library")
CONFIG = "config.json"
CONFIG_OF_LIBRARY = "config_sentence_transformers.json"
TOKENIZER = "tokenizer.json"
_OTHER_CONFIGS = ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_VOCABULARIES = ("*vocab*", "*.model", "*.spm", "*bpe*", "*.tiktoken")
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
"""What configurations call the length of a token's vector."""


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """How to compute one embedding: where the transformer lies and what follows it."""

    transformer: Path
    pooling: tuple[str, ...]
    normalize: bool
    max_tokens: int | None
    lower_case: bool
    prompt: str
    """What is put before each text, unless the request names another."""
    prompts: Mapping[str, str]
    width: int | None
    """Of a token's vector, where the configuration tells it."""


def read_files(path: Path) -> ModelFiles:
    """What the node needs to know of a model before it is loaded.

    Raises LoadError where its files are not whole, or contradict each other.
    """
    if not path.is_dir():
        raise broken("the model's folder does not exist")
    steps = read_steps(path)
    if not are_fast(steps):
        return _of_library(path, steps)
    model = read_sentence_model(path)
    config = read_json(model.transformer / CONFIG)
    total, shapes = read_network(model.transformer)
    words = table(shapes, "word_embeddings.weight")
    places = table(shapes, "position_embeddings.weight")
    _compare(config, "vocab_size", words, 0)
    _compare(config, "max_position_embeddings", places, 0)
    if "embedding_size" not in config:
        for name in _WIDTHS[:2]:
            _compare(config, name, words, 1)
    check_tokenizer(model.transformer, words[0] if words else None)
    width = model.width and model.width * len(model.pooling)
    facts = {"dimension": width, "max_tokens": model.max_tokens, "prompts": tuple(model.prompts)}
    return ModelFiles(total, width and 4 * width, facts=facts)


def _of_library(path: Path, steps: Sequence[SentenceStep]) -> ModelFiles:
    """What is known of a model that Sentence Transformers computes. Raises LoadError."""
    total = 0
    width: int | None = None
    for step in steps:
        config = read_json(step.folder / CONFIG)
        if step.name == "Transformer":
            check_safe(step.folder)
            if is_graph(step.folder):
                raise broken(f"with an ONNX graph its steps are {', '.join(FAST)}, and no others")
            check_tokenizer(step.folder, None)
            width = _width(config)
        elif step.name == "Pooling":
            width = width and width * len(_pooling(step.folder))
        elif step.name == "Dense":
            told = config.get("out_features")
            width = told if type(told) is int and told > 0 else None
        elif step.name in ("CNN", "LSTM"):
            width = None
        if any(step.folder.glob("*.safetensors")):
            size, shapes = read_weights(step.folder)
            total += size
            if step.name == "StaticEmbedding":
                check_tokenizer(step.folder, None)
                width = max(
                    (shape[1] for shape in shapes.values() if len(shape) == 2), default=None
                )
    prompts, _ = read_prompts(path)
    facts = {"dimension": width, "prompts": tuple(prompts)}
    return ModelFiles(total, width and 4 * width, LIBRARY, _LIBRARY_MODULES, facts)


def table(shapes: Mapping[str, Shape], name: str) -> Shape | None:
    """The shape of a table of vectors, under whatever prefix it stands."""
    found = (shape for key, shape in shapes.items() if f".{key}".endswith(f".{name}"))
    return next((shape for shape in found if len(shape) == 2), None)


def _compare(config: Mapping[str, Any], name: str, table: Shape | None, axis: int) -> None:
    told = config.get(name)
    if table and type(told) is int and told != table[axis]:
        raise broken(f"{CONFIG} has `{name}` {told}, and the weights have {table[axis]}")


def check_tokenizer(folder: Path, rows: int | None) -> None:
    """That there is one, and not one with more tokens than the weights have vectors."""
    if read_bytes(folder / TOKENIZER) is None:
        # Older models have a file of their kind's own, which the loader converts.
        if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
            raise broken(f"the model has no {TOKENIZER}")
        return
    model = read_json(folder / TOKENIZER).get("model")
    if not isinstance(model, dict):
        raise broken(f"{TOKENIZER} holds no tokenizer")
    words = model.get("vocab")
    if rows is not None and isinstance(words, dict | list) and len(words) > rows:
        raise broken(
            f"{TOKENIZER} is that of another model: it has {counted(len(words), 'token')}, "
            f"and the weights have {rows}"
        )


def read_sentence_model(path: Path) -> SentenceModel:
    """The model of a folder, without importing anything of it.

    Raises LoadError (cannot_be_served): files are missing or broken, or it needs code of its own,
    pickled weights or a step that this engine has not.
    """
    if not path.is_dir():
        raise broken("the model's folder does not exist")
    steps = read_steps(path)
    if not are_fast(steps):
        raise broken(f"{MODULES} must list its steps as {', '.join(FAST)}")
    modules = {step.name: step.folder for step in steps}
    transformer = modules["Transformer"]
    check_safe(transformer)
    pooling = _pooling(modules["Pooling"]) if "Pooling" in modules else ("mean",)
    length = first_json(transformer, "sentence_*_config.json")
    config = read_json(transformer / CONFIG)
    if is_graph(transformer):
        config |= {"hidden_size": read_text_graph(transformer).width}
    prompts, default = read_prompts(path)
    return SentenceModel(
        transformer=transformer,
        pooling=pooling,
        normalize="Normalize" in modules,
        max_tokens=_max_tokens(length.get("max_seq_length")),
        lower_case=bool(length.get("do_lower_case")),
        prompt=prompts.get(default, ""),
        prompts=prompts,
        width=_width(config),
    )


def _width(config: Mapping[str, Any]) -> int | None:
    widths = [config[name] for name in _WIDTHS if type(config.get(name)) is int]
    return widths[0] if widths and widths[0] > 0 else None


def check_safe(folder: Path) -> None:
    """Refuse a transformer that would run code or unpickle; raises LoadError."""
    if (folder / ADAPTER_CONFIG).exists():
        # transformers would read the model that this names, wherever it lies.
        raise broken(f"{ADAPTER_CONFIG} lies there: install its base, and this with --adapter")
    if read_bytes(folder / CONFIG) is None and not is_graph(folder):
        raise broken(f"the model has no {CONFIG}")
    for name in (CONFIG, *_OTHER_CONFIGS):
        if "auto_map" in read_json(folder / name):
            raise broken(
                f"{name} has an `auto_map`: the model brings code of its own, which is never run",
            )
    if not is_graph(folder):
        check_weights(folder)


def _pooling(folder: Path) -> tuple[str, ...]:
    config = read_json(folder / "config.json")
    named = config.get("pooling_mode")
    if named is None:
        modes = tuple(mode for key, mode in _OLD_POOLING.items() if config.get(key)) or ("mean",)
    else:
        modes = tuple(named) if isinstance(named, list) else (named,)
    for mode in modes:
        if mode not in POOLING_MODES:
            raise broken(f"pooling {str(mode)[:60]!r} is not known")
    return modes


def _max_tokens(told: Any) -> int | None:
    if told is None or (type(told) is int and told > 0):
        return told
    raise broken("`max_seq_length` is no number of tokens")


def read_prompts(path: Path) -> tuple[Mapping[str, str], str]:
    """The prompts of a model by their names, and the name of its default ("": none).

    Raises LoadError.
    """
    config = read_json(path / CONFIG_OF_LIBRARY)
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(each, str) for each in prompts.values()):
        raise broken(f"{CONFIG_OF_LIBRARY} has `prompts` that are no texts")
    if name is not None and not (isinstance(name, str) and name in prompts):
        raise broken(f"there is no prompt {str(name)[:60]!r}, which is named as the default")
    return prompts, name or ""


def prompt_of(parameters: Mapping[str, Parameter], prompts: Mapping[str, str], default: str) -> str:
    """What a request wants put before its texts. Raises RequestError."""
    name = parameters.get("prompt_name")
    if name is None:
        return default
    if name not in prompts:
        known = ", ".join(sorted(prompts)) or "none"
        raise RequestError(
            Code.INVALID_INPUT, f"the model has no prompt {str(name)[:96]!r}; it has: {known}"
        )
    return prompts[str(name)]


def dimensions_of(parameters: Mapping[str, Parameter], width: int) -> int:
    """How many numbers of each vector a request wants. Raises RequestError."""
    asked = parameters.get("dimensions")
    if asked is None:
        return width
    if not isinstance(asked, int) or not 1 <= asked <= width:
        raise RequestError(
            Code.INVALID_INPUT, f"the model's vectors have {width} dimensions, not {asked}"
        )
    return asked


def first_json(folder: Path, pattern: str) -> dict[str, Any]:
    """The first file of such a name; empty where there is none. Raises LoadError."""
    found = sorted(folder.glob(pattern))
    return read_json(found[0]) if found else {}
