"""How much a request asks of its model, as far as it says so."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from modelmora.messages import Parameter

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_SIDE, _STEPS, _TOKENS = 512, 20, 256
_PROMPT = 1 / 40
"""What a byte of a prompt takes beside a token of the answer: a token is about four bytes, and one
that is read takes about a tenth of one that is made."""


def asked(takes: Container[str], settings: Mapping[str, Parameter], size: int) -> float:
    """In a measure of the model's own, above 0.

    `takes`: the parameters that the model takes; `settings`: those that the request runs with;
    `size`: its bytes.

    (1) An image: its pixels by its steps.
    (2) A text: the tokens it may have, and those of its prompt.
    (3) Else the bytes.
    """
    # (1) An image.
    if "steps" in takes and "size" in takes:
        found = _SIZE.fullmatch(str(settings.get("size")))
        width, height = map(int, found.groups()) if found else (_SIDE, _SIDE)
        return float(max(width * height * _number(settings.get("steps"), _STEPS), 1))
    # (2) A text.
    if "max_tokens" in takes:
        return max(_number(settings.get("max_tokens"), _TOKENS), 1) + size * _PROMPT
    # (3) Bytes.
    return float(max(size, 1))


def _number(found: Parameter, default: int) -> int:
    return found if isinstance(found, int) else default
