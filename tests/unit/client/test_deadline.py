"""The time of a call bounds all that belongs to it."""

from __future__ import annotations

import threading

import pytest

from modelmora.client import Client, DeadlineExceeded, Options
from tests.unit.client.doubles import CAP_S, Gateway, Shop
from tests.unit.client.test_values import kept


@pytest.mark.parametrize("side", ["upload", "download"])
def test_a_store_that_says_nothing_keeps_no_call_longer_than_its_time(
    one: Gateway, side: str
) -> None:
    over = threading.Event()

    def silent() -> None:
        over.wait(CAP_S)

    with Shop(one.hall.store) as shop:
        shop.cut = silent
        one.hall.outputs = (kept(one, b"a text", "text/plain"),)
        inline = 1 if side == "upload" else 1000
        with Client(one.address, options=Options(inline_bytes=inline)) as client:
            with pytest.raises(DeadlineExceeded, match=r"within 0\.5 s"):
                client.generate("echo", "a text", timeout_s=0.5)
            over.set()
    assert shop.asked == ["PUT" if side == "upload" else "GET"]
