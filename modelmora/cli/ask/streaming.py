"""A request whose output is printed while it is computed: `modelmora infer --stream`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from modelmora.cli.shared.output import say, tell_more
from modelmora.diagnostics.reader import Reader
from modelmora.errors import Undecodable
from modelmora.host.instance import Instance
from modelmora.kafka.topics import Topic
from modelmora.messages import ProgressEvent, ProgressStage
from modelmora.wire import decode_progress, new_request_id

LINGER_S = 2.0


class Shown:
    """What of an output has been printed: number 0 begins it, the next number continues it."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.text = ""
        self.whole = True
        self._write = write
        self._next = 0

    def take(self, event: ProgressEvent) -> None:
        """Print what a chunk adds; say so where it begins anew or something is missing."""
        if event.stage is not ProgressStage.CHUNK:
            return
        if event.steps:
            say(f"step {event.step} of {event.steps}")
        anew = event.sequence == 0
        if anew and self.text:
            self.end()
            say("it is computed another time and begins anew")
        elif event.sequence != self._next and not anew and self.whole:
            say("a part is missing here; the whole follows at the end")
        self.whole = anew or (self.whole and event.sequence == self._next)
        self._next = event.sequence + 1
        text = (event.chunk or b"").decode("utf-8", "replace")
        self.text = text if anew else self.text + text
        self._write(text)

    def end(self) -> None:
        """Close the line."""
        if self.text and not self.text.endswith("\n"):
            self._write("\n")

    def has_all(self, outputs: list[Any]) -> bool:
        """Whether these outputs stand there already."""
        return self.whole and bool(self.text) and outputs == [self.text]


def ask_and_show(
    where: Instance, path: str, body: dict[str, Any], timeout_s: float
) -> tuple[dict[str, Any], bool]:
    """The gateway's answer, and whether its outputs were printed whole on the way."""
    settings = where.kafka()
    request_id = new_request_id()
    answer: Future[dict[str, Any]] = Future()

    def ask() -> None:
        headers = {"x-request-id": request_id}
        asked = body | {"progress": True}
        try:
            answer.set_result(
                where.ask_gateway("POST", path, json=asked, headers=headers, timeout_s=timeout_s)
            )
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            answer.set_exception(error)

    shown, patience = Shown(tell_more), float("inf")
    with Reader(settings, say) as reader:
        places = reader.places(Topic.PROGRESS.full(settings.namespace))
        coming = reader.follow(reader.ends(places))
        next(coming)  # it reads from here on
        threading.Thread(target=ask, daemon=True).start()
        for record in coming:
            if record and record.key == request_id.encode():
                try:
                    shown.take(decode_progress(record.plain))
                except Undecodable:
                    continue
            # What was told before the answer lies there by now: it is read before the first quiet.
            if answer.done():
                patience = min(patience, time.monotonic() + LINGER_S)
                if record is None or time.monotonic() > patience:
                    break
    shown.end()
    found = answer.result()
    return found, shown.has_all(found["outputs"])
