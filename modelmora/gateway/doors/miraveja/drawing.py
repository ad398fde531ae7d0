"""What MiraVeja's callers say of an image that is to be drawn, as engines take it, and back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Parameter

SEEDS = 1 << 31
"""A drawn seed fits the field by which it is told."""
DRAWN = (0, -1)
"""The seeds that stand for any."""
_OWN = frozenset({"", "automatic", "default", "normal"})
_SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIM",
    "dpm++2m": "DPMSolver++",
    "dpmpp2m": "DPMSolver++",
    "dpmsolver++": "DPMSolver++",
    "euler": "Euler",
    "eulera": "EulerAncestral",
    "eulerancestral": "EulerAncestral",
    "lcm": "LCM",
    "plms": "PNDM",
    "pndm": "PNDM",
}
"""By their names elsewhere, without capitals, blanks, `_` and `-`."""


def parameters_of(told: Any) -> dict[str, Parameter]:
    """The parameters of a request; `told` is an ImageGenerationParameters. Raises Refusal."""
    found: dict[str, Parameter] = {
        "seed": secrets.randbelow(SEEDS - 1) + 1 if told.seed in DRAWN else told.seed
    }
    if told.width or told.height:
        if not (told.width and told.height):
            raise _invalid("width and height: say both, or neither")
        found["size"] = f"{told.width}x{told.height}"
    if told.negative_prompt:
        found["negative_prompt"] = told.negative_prompt
    if told.cfg_scale:
        found["guidance"] = told.cfg_scale
    if told.steps:
        found["steps"] = told.steps
    if told.loras:
        found["loras"] = tuple(f"{each.name}={each.weight or 1.0:.6g}" for each in told.loras)
    if scheduler := _scheduler(told):
        found["scheduler"] = scheduler
    return found


def tell(used: Mapping[str, Parameter], told: Any) -> None:
    """Put what was used in fact into an ImageGenerationParameters, over what was asked."""
    for name, field in (("seed", "seed"), ("steps", "steps"), ("guidance", "cfg_scale")):
        value = used.get(name)
        if isinstance(value, int | float) and abs(value) < SEEDS:
            setattr(told, field, round(value))
    if size := re.fullmatch(r"(\d{1,6})x(\d{1,6})", str(used.get("size"))):
        told.width, told.height = int(size[1]), int(size[2])
    if isinstance(scheduler := used.get("scheduler"), str):
        told.scheduler = scheduler


def _scheduler(told: Any) -> str | None:
    """One word for what others say in two; None is the model's own."""
    named = {_plain(word) for word in (told.scheduler, told.sampler)} - _OWN
    found = {_SCHEDULERS.get(each) for each in named}
    if None in found or len(found) > 1:
        known = ", ".join(sorted(set(_SCHEDULERS.values())))
        raise _invalid(f"scheduler and sampler: one of {known}, or neither")
    return next(iter(found), None)


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]", "", word).casefold()


def _invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, message)
