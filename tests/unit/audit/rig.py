"""A chain as lines of a topic, and what may be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelmora.audit.anchors import Anchor
from modelmora.audit.chain import Chain, Link, Told
from modelmora.audit.signing import Signer
from modelmora.audit.verifying import Line

KEY = Signer()


class Written:
    """The records of one writer, and where they lie."""

    def __init__(self, writer: str = "node@a/1", signer: Signer = KEY) -> None:
        self.chain = Chain(writer, signer)
        self.links: list[Link] = []

    def tell(self, *verbs: str) -> Written:
        """Add a record for each."""
        for number, verb in enumerate(verbs):
            self.links.append(
                self.chain.add(Told(verb, "alice", 5 + number, model="m@1", reason="because"))
            )
        return self

    def anchor(self, sequence: int, offset: int = -1) -> Anchor:
        """What events were told once this record was written."""
        return Anchor(self.chain.head(self.links[sequence]), 0, offset)


def lines(links: Sequence[Link], first: int = 0) -> list[Line]:
    """As they lie in one partition."""
    return [
        Line(f"ns.audit:0:{offset}", 0, offset, link.value, link.signature)
        for offset, link in enumerate(links, first)
    ]


def flipped(line: Line, bit: int) -> Line:
    """One bit of the value another."""
    value = bytearray(line.value or b"")
    value[bit // 8] ^= 1 << bit % 8
    return replace(line, value=bytes(value))
