"""Reads a transformers model from its own files alone; imported in a child only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from modelmora.engines.adapters import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    check_tensors,
    read_adapter,
)
from modelmora.engines.base import Engine, LoadError, is_out_of_memory
from modelmora.engines.files import broken
from modelmora.engines.options import option
from modelmora.text import counted

SAFE: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""What every reader of the libraries is told."""
_LAYER = re.compile(r"\blayers?\.\d+\.")


class OnTorch(Engine):
    """An engine that computes with torch.

    Option `device`: torch's name; default: the first GPU if there is one, else the CPU.
    """

    device: Any

    def use_device(self, options: Mapping[str, Any]) -> str:
        """Compute on the device of these options from now on; returns its name."""
        name = device_of(options)
        self.device = torch.device(name)
        return name

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        if count > 0 and torch.get_num_threads() != count:
            torch.set_num_threads(count)


def device_of(options: Mapping[str, Any]) -> str:
    """Torch's name of the device that options ask for, else of the best there is. LoadError."""
    name = option(options, "device", "cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.device(name)
    except RuntimeError:
        raise broken(f"its option `device` names none that torch knows: {name[:40]!r}") from None
    return name


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever a library says of files that it cannot read, in our words; raises LoadError.

    What the machine lacks, memory or files it may open, says nothing of the model's files.
    """
    try:
        yield
    except (ImportError, LoadError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno):
            raise
        name = type(error).__name__
        raise broken(f"its {what} cannot be read ({name}); are all files of one model?") from error


def weights(auto: Any, folder: str, unneeded: str | None = None) -> Any:
    """A model of the class `auto`, all of it from its files: none of its weights are made up.

    Tensors with `unneeded` in their name may be missing, since nothing is computed with them.
    Raises LoadError.
    """
    with reading("weights or configuration"):
        model, told = auto.from_pretrained(
            folder,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **SAFE,
        )
    missing = sorted(name for name in told["missing_keys"] if not unneeded or unneeded not in name)
    mismatched = sorted(name for name, *_ in told["mismatched_keys"])
    layers = sorted(name for name in told["unexpected_keys"] if _LAYER.search(name))
    for names, fault in (
        (missing, "the weights lack {} that config.json asks for"),
        (mismatched, "{} of the weights have another shape than config.json says"),
        (layers, "the weights have {} of layers that config.json does not count"),
    ):
        if names:
            raise broken(f"{fault.format(counted(len(names), 'tensor'))}, such as {names[0]}")
    return model.eval()


def tuned(model: Any, options: Mapping[str, Any]) -> Any:
    """The model with the weights of its adapter added to its own; raises LoadError.

    Every tensor of the adapter's file counts, and none is made up.
    """
    if not (place := options.get(ADAPTER)):
        return model
    from peft import (
        LoraConfig,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )
    from safetensors.torch import load_file

    adapter = read_adapter(Path(place))
    with reading("adapter"):
        config = LoraConfig(**dict(adapter.lora or {}))
        both = get_peft_model(model, config, autocast_adapter_dtype=False)
        _untie(both)
        told = load_file(adapter.path / ADAPTER_WEIGHTS)
        # PEFT saves embeddings that are tuned as the base has them, too, unless told otherwise.
        whole = any(name.endswith(".base_layer.weight") for name in told)
        own = get_peft_model_state_dict(both, save_embedding_layers=whole)
        check_tensors(_shapes(own), _shapes(told))
        set_peft_model_state_dict(both, told)
        return both.merge_and_unload().eval()


def _untie(model: Any) -> None:
    """Give each tuned layer weights of its own: merged into shared ones, it would change others."""
    uses = Counter(id(each) for _, each in model.named_parameters(remove_duplicate=False))
    for layer in [*model.modules()]:
        base = getattr(layer, "base_layer", None)
        if base is not None and any(uses[id(each)] > 1 for each in base.parameters()):
            layer.base_layer = deepcopy(base)


def _shapes(tensors: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in tensors.items()}
