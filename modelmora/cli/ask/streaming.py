"""A request whose output is printed while it is computed: `modelmora infer --stream`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelmora.access.own import Own, own_of
from modelmora.cli.shared.output import say, tell_more
from modelmora.client import Answer, Client, Options, Step, Text
from modelmora.client.values import Piece
from modelmora.errors import Unreachable
from modelmora.host.instance import Instance
from modelmora.messages import Parameter
from modelmora.wire.forms import content_form, timings_form

SECURE = "https://"
"""What an address begins with where TLS is spoken."""


class Shown:
    """What of an output has been printed."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.text = ""
        self._write = write

    def take(self, piece: Piece) -> None:
        """Print what a piece adds; say so where it begins anew."""
        if isinstance(piece, Step):
            say(f"step {piece.step} of {piece.steps}")
        if not isinstance(piece, Text):
            return
        if piece.anew:
            self.end()
            say("it was computed another time, and begins anew")
            self.text = ""
        self.text += piece.text
        self._write(piece.text)

    def end(self) -> None:
        """Close the line."""
        if self.text and not self.text.endswith("\n"):
            self._write("\n")


def ask_and_show(
    way: tuple[str, Options],
    model: str,
    inputs: list[str],
    parameters: Mapping[str, Parameter],
    priority: str,
) -> dict[str, Any]:
    """The answer as REST has it, without an output that was printed on the way."""
    address, options = way
    shown = Shown(tell_more)
    with Client(address, options=options) as client:
        asked = client.stream(model, inputs, parameters=parameters, priority=priority)
        with asked as pieces:
            for piece in pieces:
                shown.take(piece)
    shown.end()
    assert isinstance(piece, Answer)  # noqa: S101 - a stream ends with it, or raises
    outputs = piece.outputs if piece.outputs != (shown.text,) else ()
    return {
        "request_id": piece.request_id,
        "model": piece.model,
        "version": piece.version,
        "outputs": [content_form(each) for each in outputs],
        "timings": timings_form(piece.timings),
    }


def way_to(where: Instance, grpc: str | None, timeout_s: float, **more: Any) -> tuple[str, Options]:
    """The gateway that speaks gRPC, and how it is asked. Raises Unreachable."""
    address = grpc or (where.run and where.run.grpc)
    if not address:
        raise Unreachable("no gateway is known to speak gRPC; pass --grpc HOST:PORT")
    key = where.settings.access.key
    secret = key.get_secret_value() if key else None
    door = address if grpc else (where.run and where.run.http) or ""
    if door.startswith(SECURE):
        more |= _encrypted(own_of(where.settings, here=not grpc))
    return address.removeprefix(SECURE), Options(timeout_s=timeout_s, api_key=secret, **more)


def _encrypted(own: Own) -> dict[str, Any]:
    """The options of a channel that is encrypted."""
    certificate, key = own.contents() or (None, None)
    shown = {"certificate": certificate, "key": key}
    return {"tls": True, "ca": own.authorities, "server_name": own.name(), **shown}
