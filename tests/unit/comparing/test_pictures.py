"""What pictures look like: alike when they are scaled or compressed, else half of the bits."""

from __future__ import annotations

import random
import sys
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageDraw

from modelmora.comparing import pictures
from modelmora.comparing.pictures import BITS, Look, apart, look


def drawn(seed: int, side: int = 96) -> Image.Image:
    """Some ellipses of some colours."""
    chance = random.Random(seed)
    image = Image.new("RGB", (side, side), tuple(chance.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = chance.uniform(0, side), chance.uniform(0, side)
        reach = chance.uniform(side / 12, side / 4)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return image


def seen(image: Image.Image, form: str = "PNG", **how: Any) -> Look:
    file = BytesIO()
    image.save(file, form, **how)
    found = look(file.getvalue())
    assert found
    return found


def test_a_picture_that_is_scaled_or_compressed_looks_alike() -> None:
    image = drawn(1)
    first = seen(image)
    assert first.size == (96, 96)
    assert apart(first, seen(image)) == 0
    assert apart(first, seen(image, "JPEG", quality=40)) <= 6
    assert apart(first, seen(image.resize((64, 64)))) <= 6
    assert apart(first, seen(image.convert("L"))) <= 6


def test_by_chance_half_of_the_bits_differ() -> None:
    looks = [seen(drawn(seed)) for seed in range(12)]
    found = [apart(a, b) for at, a in enumerate(looks) for b in looks[:at]]
    assert 0.4 * BITS < sum(found) / len(found) < 0.6 * BITS


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and no more"])
def test_what_is_no_picture_has_no_look(content: bytes) -> None:
    assert look(content) is None


def test_a_picture_that_is_cut_off_has_no_look() -> None:
    file = BytesIO()
    drawn(1).save(file, "PNG")
    assert look(file.getvalue()[:-200]) is None


def test_one_of_very_many_pixels_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    drawn(1).save(file, "PNG")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 96 * 96 - 1)
    assert look(file.getvalue()) is None


def test_without_pillow_there_is_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    drawn(1).save(file, "PNG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert look(file.getvalue()) is None
