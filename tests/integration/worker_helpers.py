"""An engine that starts a helper process and forgets it, as a careless library might."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelmora.engines.base import Row
from modelmora.messages import Content, InferenceRequest, Parameter
from modelmora.testing.engines import Echo


class Sees(Echo):
    """An echo that tells on loading which device it was given, and which it can see."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"device": options["device"], "visible": os.environ["CUDA_VISIBLE_DEVICES"]}


class Heavy(Echo):
    """An echo that holds 64 MiB."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        self._held = b"x" * (64 << 20)
        return {}


class Tight(Echo):
    """Runs out of memory with more than 8 requests at once; answers with the most it was given."""

    most = 0

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        self.most = max(self.most, len(rows))
        if len(rows) > 8:
            raise MemoryError
        return [[self.most] for _ in rows]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        return [str(parts[0][0])]


class Parent(Echo):
    """An echo with a helper process."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        helper = os.fork()
        while helper == 0:
            signal.pause()
        return {"helper": helper}


class Moody(Echo):
    """An echo that cannot be loaded while there is the file that its options name."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if Path(options["while"]).exists():
            raise OSError("not now")
        return {}


class Stuck(Echo):
    """An echo whose load never ends."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        while True:
            signal.pause()
