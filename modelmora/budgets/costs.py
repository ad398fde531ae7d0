"""What a request uses: by what it says before it runs, and by what its outcome tells; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from modelmora.access.budgets import Costs
from modelmora.errors import Code
from modelmora.messages import ChatMessage, Content, InferenceResult, Parameter, Timings

CHARACTERS = 4
"""Of a text make about one token."""
WEIGHT = 0.2
"""Of the newest outcome in what is expected of a model."""
MOST_MODELS = 1024
NO_ROOM = frozenset(
    {
        Code.BUSY,
        Code.STARTING,
        Code.STOPPING,
        Code.MODEL_UNAVAILABLE,
        Code.STORE_UNAVAILABLE,
        Code.RETRIES_SPENT,
    }
)
"""Those of which callers over HTTP are told 503: ask again later."""
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class Expected:
    """What requests of each model use: a mean of what outcomes told, the newest weighing most.

    What nobody has seen yet counts as one of each unit, so that a budget that is used up lets
    nothing through.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Costs] = {}

    def of(
        self, model: str, inputs: Sequence[Content], parameters: Mapping[str, Parameter]
    ) -> Costs:
        """What a request is charged when it comes.

        What it says itself counts before what others like it used: the tokens that it lets a model
        write, and the size of each image that it asks for.
        """
        seen = self._seen.get(model.partition("@")[0])
        tokens, pixels, device_ms = (1.0, 1.0, 1.0) if seen is None else seen[1:]
        if tokens:
            wanted = parameters.get("max_tokens")
            if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0:
                tokens = wanted + _read(inputs)
            elif seen is None:
                tokens = max(1.0, _read(inputs))
        if pixels:
            pixels = pixels_of(parameters, len(inputs)) or pixels
        return Costs(1.0, tokens, pixels, max(device_ms, 1.0))

    def learn(self, model: str, used: Costs) -> None:
        """An outcome has told what its request has used."""
        before = self._seen.get(model)
        if before is None and len(self._seen) >= MOST_MODELS:
            return
        changed = used
        if before is not None:
            pairs = zip(before, used, strict=True)
            changed = Costs(*(old + WEIGHT * (new - old) for old, new in pairs))
        self._seen[model] = changed


def used_by(result: InferenceResult) -> Costs:
    """What an outcome says that its request has used."""
    return used_in(result.settings, len(result.outputs), result.timings)


def used_in(settings: Mapping[str, Parameter], outputs: int, timings: Timings) -> Costs:
    """What a request has used that ran with these settings and has so many outputs."""
    tokens = _number(settings.get("prompt_tokens")) + _number(settings.get("completion_tokens"))
    return Costs(1.0, tokens, pixels_of(settings, outputs), max(0.0, timings.inference_ms))


def used_in_vain(code: Code, timings: Timings) -> Costs:
    """What a request has used that ended so; where nobody had room it does not count as one."""
    return Costs(0.0 if code in NO_ROOM else 1.0, device_ms=max(0.0, timings.inference_ms))


def pixels_of(parameters: Mapping[str, Parameter], images: int) -> float:
    """What so many images of the `size` in these parameters have; 0 where none is named."""
    found = _SIZE.fullmatch(str(parameters.get("size") or ""))
    return float(int(found[1]) * int(found[2]) * max(images, 0)) if found else 0.0


def _read(inputs: Sequence[Content]) -> float:
    """About how many tokens a model reads."""
    texts = (each.content if isinstance(each, ChatMessage) else each for each in inputs)
    return sum(len(each) for each in texts if isinstance(each, str)) / CHARACTERS


def _number(told: Parameter) -> float:
    if isinstance(told, (int, float)) and not isinstance(told, bool) and told > 0:
        return float(told)
    return 0.0
