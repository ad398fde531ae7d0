"""What a request asks of its model, in the model's own measure."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from modelmora.messages import Parameter
from modelmora.serving.asked import asked

IMAGE, TEXT, OTHER = ("size", "steps"), ("max_tokens", "top_p"), ("truncate",)


@pytest.mark.parametrize(
    ("takes", "settings", "size", "expected"),
    [
        (IMAGE, {"size": "256x128", "steps": 4}, 99, 256 * 128 * 4),
        (IMAGE, {}, 99, 512 * 512 * 20),
        (IMAGE, {"size": "large"}, 99, 512 * 512 * 20),
        (IMAGE, {"size": "0x0", "steps": 4}, 99, 1),
        (TEXT, {"max_tokens": 100}, 400, 110),
        (TEXT, {}, 0, 256),
        (OTHER, {"truncate": True}, 1234, 1234),
        (OTHER, {}, 0, 1),
    ],
)
def test_what_is_asked(
    takes: tuple[str, ...], settings: Mapping[str, Parameter], size: int, expected: float
) -> None:
    assert asked(takes, settings, size) == expected
