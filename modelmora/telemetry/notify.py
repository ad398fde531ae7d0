"""Tells the supervisor of this machine what this process listens on, as JSON lines on a pipe.

Nothing happens where `MODELMORA_NOTIFY_FD` is absent: the process was started by hand.
"""

from __future__ import annotations

import json
import os

from modelmora.settings import NOTIFY_VARIABLE

Fact = bool | int | str | None


def notify(**facts: Fact) -> None:
    """Write one line, such as `notify(ready=True, http="http://127.0.0.1:8080")`.

    A later line replaces the facts that it names. Lines are shorter than PIPE_BUF and therefore
    whole, whichever thread writes. A supervisor that is gone is no error here.
    """
    named = os.environ.get(NOTIFY_VARIABLE, "")
    if not named.isdecimal():
        return
    line = json.dumps(facts, separators=(",", ":")) + "\n"
    try:
        os.write(int(named), line.encode())
    except OSError:
        return
