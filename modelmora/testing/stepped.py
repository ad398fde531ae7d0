"""The stepped test engine, served only with `testing: true`: it counts words aloud."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from modelmora.engines.base import Step, SteppedEngine
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter

SLOTS = 16


@dataclass(slots=True)
class _Counting:
    """One request: how many words, who draws them, and what it does in the middle."""

    words: int
    ms: float
    settings: Mapping[str, Parameter]
    draw: random.Random
    fault: Parameter
    said: list[str] = field(default_factory=list)


class Count(SteppedEngine):
    """Says `words` words, one each step, and each step takes the longest `ms` of all.

    Numbers in their order; random ones where a `seed` is given, the same for the same seed; below
    0 it seeds itself. With `clock` a word is the moment it is said at (monotonic, ns). A request
    with the `marker` in its input has its `fault` in the middle: crash, hang, oom or error.
    """

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """There is nothing to load."""
        self.slots = options.get("slots", SLOTS)
        self._all: dict[int, _Counting] = {}
        return {"slots": self.slots}

    def use_threads(self, count: int) -> None:
        """It computes nothing."""

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        """Begin to count. Raises RequestError without an input."""
        if not request.inputs:
            raise RequestError(Code.INVALID_INPUT, "`inputs` is empty; send a string")
        words, ms, seed = (parameters.get(name) for name in ("words", "ms", "seed"))
        if isinstance(seed, int) and seed < 0:
            seed = int.from_bytes(os.urandom(4))
        marker = parameters.get("marker")
        is_marked = isinstance(marker, str) and any(
            isinstance(value, str) and marker in value for value in request.inputs
        )
        self._all[key] = _Counting(
            words if isinstance(words, int) else SLOTS,
            float(ms) if isinstance(ms, int | float) else 1.0,
            parameters if seed is None else {**parameters, "seed": seed},
            random.Random(seed if isinstance(seed, int) else 0),  # noqa: S311 - no secret
            parameters.get("fault", "crash") if is_marked else None,
        )

    def step(self) -> Sequence[Step]:
        """One word more of each."""
        time.sleep(max(each.ms for each in self._all.values()) / 1e3)
        return [self._next(key, each) for key, each in [*self._all.items()]]

    def remove(self, key: int) -> None:
        """Stop counting."""
        del self._all[key]

    def _next(self, key: int, each: _Counting) -> Step:
        if each.fault and len(each.said) >= each.words // 2:
            _act(each.fault)
        if len(each.said) < each.words:
            number = len(each.said)
            if each.settings.get("clock"):
                number = time.monotonic_ns()
            elif "seed" in each.settings:
                number = each.draw.randrange(1000)
            each.said.append(f"{number} ")
            return Step(key, each.said[-1])
        del self._all[key]
        return Step(key, outputs=("".join(each.said),), settings=each.settings)


def _act(fault: Parameter) -> NoReturn:
    if fault == "oom":
        raise MemoryError
    if fault == "hang":
        while True:
            signal.pause()
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("a step that fails")
