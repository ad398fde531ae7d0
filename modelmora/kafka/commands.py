"""The headers of a command on `control`: whose it is, and the proof of that."""

from __future__ import annotations

import time

from modelmora.access.signing import Signer
from modelmora.messages import ControlCommand
from modelmora.messages.headers import GATEWAY, PRINCIPAL

Told = tuple[tuple[str, bytes], ...]


def command_headers(command: ControlCommand, signer: Signer | None, gateway: str = "") -> Told:
    """Those of a command that is given now; a cancel is only for what that `gateway` has written.

    It is signed where there is a `signer`.
    """
    headers: Told = ((PRINCIPAL, command.principal.encode()),)
    if gateway:
        headers = (*headers, (GATEWAY, gateway.encode()))
    if signer:
        now_ms = time.time_ns() // 1_000_000
        headers = (*headers, signer.command(command, dict(headers).get(GATEWAY), now_ms))
    return headers
