"""The engine of `txt2img`: prompts to PNG images, by a pipeline of diffusers.

Imported in a child only; torch, transformers and diffusers are loaded with it.
"""

from __future__ import annotations

import io
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from modelmora.engines.base import (
    Engine,
    LoadError,
    OnStep,
    Outputs,
    Plan,
    Row,
    as_batches,
    is_out_of_memory,
    texts_of,
)
from modelmora.engines.files import broken
from modelmora.engines.images.pipeline import LORAS, PNDM_STEPS, SCHEDULERS, Pipeline, read_pipeline
from modelmora.engines.loading import device_of
from modelmora.engines.options import option
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter
from modelmora.text import counted

STEPS = 30
GUIDANCE = 7.5
MAX_PIXELS = 1 << 20
SEEDS = 1 << 53
"""Seeds are below it: each is a number of JSON too."""
_LCM_STEPS = 50
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_LORA = re.compile(r"([^=]+)(?:=(.+))?")
_STRONGEST = 10.0
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks of each of its images."""

    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    negative: str
    loras: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, and the settings it was made with."""

    png: bytes
    filtered: bool
    settings: Mapping[str, Parameter]


class Diffusion(Engine):
    """One pipeline.

    Options: `device` (torch's name; default: the first GPU if there is one, else the CPU), `dtype`
    (float32, float16, bfloat16; default float32 on a CPU, else float16), `steps` and `guidance` of
    requests that give none, `max_pixels` of an image, and `batch`: how many images are computed at
    once. In company an image may differ from the same one alone by rounding, so the default is 1.
    """

    on_step: OnStep | None = None
    _files: Pipeline
    _pipe: Any

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the pipeline; facts: size, scheduler, loras, filter, device. Raises LoadError."""
        self._files = read_pipeline(path)
        device = device_of(options)
        dtype = option(options, "dtype", "float32" if device == "cpu" else "float16")
        if dtype not in _DTYPES:
            raise broken(f"`dtype` is one of {', '.join(_DTYPES)}")
        self._steps = option(options, "steps", STEPS)
        self._guidance = option(options, "guidance", GUIDANCE)
        self._max_pixels = option(options, "max_pixels", MAX_PIXELS)
        self._batch = option(options, "batch", 1)
        self._pipe = _read(self._files, _DTYPES[dtype]).to(device)
        self._pipe.set_progress_bar_config(disable=True)
        self._scheduler = self._pipe.scheduler.config
        self._loras: tuple[tuple[str, float], ...] = ()
        return {
            "size": f"{self._files.size}x{self._files.size}",
            "scheduler": self._files.scheduler,
            "loras": list(self._files.loras),
            "filter": self._files.filtered,
            "device": device,
        }

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        if count > 0 and torch.get_num_threads() != count:
            torch.set_num_threads(count)

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """A row for each prompt, with its seed; the seed of a request is that of its first."""
        try:
            wish = self._wish(parameters)
        except RequestError as error:
            return Plan(refused=[(index, error) for index, _ in requests])
        plan, rows = Plan(), []
        for index, request in requests:
            try:
                prompts = texts_of(request)
                for place, prompt in enumerate(prompts):
                    self._check_length(f"input {place}", prompt)
            except RequestError as error:
                plan.refused.append((index, error))
                continue
            told = parameters.get("seed")
            seed = told if isinstance(told, int) else secrets.randbelow(SEEDS)
            rows += [
                Row(index, part, (prompt, (seed + part) % SEEDS, wish))
                for part, prompt in enumerate(prompts)
            ]
        plan.batches = as_batches(rows, self._batch)
        return plan

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """A `Picture` for each prompt. Raises Withdrawn between steps, and RequestError."""
        wish: Wish = rows[0].data[2]
        self._use_loras(wish.loras)
        kind = getattr(diffusers, SCHEDULERS[wish.scheduler])
        self._pipe.scheduler = kind.from_config(self._scheduler)

        def on_step(pipe: Any, step: int, _timestep: Any, kept: Any) -> Any:
            if self.on_step:
                self.on_step(rows, step + 1, pipe.num_timesteps)
            return kept

        with torch.inference_mode():
            made = self._pipe(
                [row.data[0] for row in rows],
                negative_prompt=[wish.negative] * len(rows) if wish.negative else None,
                width=wish.width,
                height=wish.height,
                num_inference_steps=wish.steps,
                guidance_scale=wish.guidance,
                generator=[torch.Generator("cpu").manual_seed(row.data[1]) for row in rows],
                output_type="np",
                callback_on_step_end=on_step,
            )
        flags = getattr(made, "nsfw_content_detected", None) or [False] * len(rows)
        return [
            Picture(_png(image), bool(flag), _settings(wish, row.data[1]))
            for image, flag, row in zip(made.images, flags, rows, strict=True)
        ]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Outputs:
        """The images, and the settings they were made with."""
        settings = parts[0].settings if parts else {}
        filtered = any(picture.filtered for picture in parts)
        return Outputs([picture.png for picture in parts], {**settings, "filtered": filtered})

    def _wish(self, parameters: Mapping[str, Parameter]) -> Wish:
        """What the parameters ask. Raises RequestError."""
        width, height = self._size(parameters.get("size"))
        scheduler = str(parameters.get("scheduler") or self._files.scheduler)
        if scheduler not in SCHEDULERS:
            raise _invalid(f"`scheduler` is one of {', '.join(SCHEDULERS)}")
        steps = _number(parameters.get("steps"), self._steps)
        if scheduler == "LCM" and steps > _LCM_STEPS:
            raise _invalid(f"`steps` is at most {_LCM_STEPS} with the scheduler LCM")
        looks_back = scheduler == "PNDM" and not self._scheduler.get("skip_prk_steps")
        if looks_back and steps < PNDM_STEPS:
            raise _invalid(f"`steps` is at least {PNDM_STEPS} with the scheduler PNDM")
        negative = str(parameters.get("negative_prompt") or "")
        self._check_length("`negative_prompt`", negative)
        return Wish(
            width,
            height,
            int(steps),
            float(_number(parameters.get("guidance"), self._guidance)),
            scheduler,
            negative,
            _loras(parameters.get("loras"), self._files.loras),
        )

    def _size(self, told: Parameter) -> tuple[int, int]:
        if told is None:
            return self._files.size, self._files.size
        found = _SIZE.fullmatch(str(told))
        grain = self._files.grain
        width, height = (int(found[1]), int(found[2])) if found else (0, 0)
        if not found or width % grain or height % grain:
            raise _invalid(f"`size` is WIDTHxHEIGHT in multiples of {grain} pixels, as in 512x512")
        if width * height > self._max_pixels:
            side = math.isqrt(self._max_pixels) // grain * grain
            raise _invalid(
                f"`size` {told} has more pixels than this model may compute here; "
                f"{side}x{side} may be"
            )
        return width, height

    def _check_length(self, what: str, text: str) -> None:
        """Refuse a prompt that is too long, which diffusers would cut."""
        tokenizer = self._pipe.tokenizer
        length = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if length > tokenizer.model_max_length:
            raise _invalid(
                f"{what} has {counted(length, 'token')} and the model takes "
                f"{tokenizer.model_max_length}; shorten it"
            )

    def _use_loras(self, wanted: tuple[tuple[str, float], ...]) -> None:
        """Have these in the pipeline, and no other. Raises RequestError."""
        if wanted == self._loras:
            return
        self._loras = ()
        self._pipe.unload_lora_weights()
        adapters = [f"lora{i}" for i in range(len(wanted))]
        for (name, _), adapter in zip(wanted, adapters, strict=True):
            try:
                self._pipe.load_lora_weights(
                    self._files.folder / LORAS,
                    weight_name=f"{name}.safetensors",
                    adapter_name=adapter,
                    local_files_only=True,
                    use_safetensors=True,
                )
                self._pipe.set_adapters([adapter])  # raises where nothing of it was taken in
            except Exception as error:
                self._pipe.unload_lora_weights()
                if is_out_of_memory(error):
                    raise
                raise _invalid(f"the LoRA `{name}` does not fit this model") from error
        if wanted:
            self._pipe.set_adapters(adapters, [weight for _, weight in wanted])
        self._loras = wanted


def _read(files: Pipeline, dtype: Any) -> Any:
    """The pipeline in memory; raises LoadError."""
    try:
        return getattr(diffusers, files.kind).from_pretrained(
            files.folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
        )
    except LoadError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno):
            raise
        kind = type(error).__name__
        raise broken(f"its parts cannot be read ({kind}); are all files of one model?") from error


def _settings(wish: Wish, seed: int) -> Mapping[str, Parameter]:
    return {
        "seed": seed,
        "size": f"{wish.width}x{wish.height}",
        "steps": wish.steps,
        "guidance": wish.guidance,
        "scheduler": wish.scheduler,
    }


def _loras(told: Parameter, known: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Names and weights of `name=0.8` or `name`. Raises RequestError."""
    wanted: dict[str, float] = {}
    for each in told if isinstance(told, tuple) else ():
        found = _LORA.fullmatch(each)
        name = found[1] if found else each
        if name not in known:
            there = ", ".join(known) or "none"
            raise _invalid(f"the model has no LoRA {name[:96]!r}; it has: {there}")
        try:
            weight = float(found[2]) if found and found[2] else 1.0
        except ValueError:
            weight = math.nan
        if not abs(weight) <= _STRONGEST:
            raise _invalid(f"the weight of the LoRA {name!r} is a number from -10 to 10")
        if name in wanted:
            raise _invalid(f"the LoRA {name!r} is there twice")
        wanted[name] = weight
    return tuple(wanted.items())


def _number(told: Parameter, default: float) -> float:
    return told if isinstance(told, int | float) else default


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, message)


def _png(image: Any) -> bytes:
    """PNG bytes of an array [height, width, 3] of numbers from 0 to 1. Raises RequestError."""
    if not np.isfinite(image).all():
        message = "the model computed NaN or infinity; its weights may be damaged"
        raise RequestError(Code.INFERENCE_FAILED, message)
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
