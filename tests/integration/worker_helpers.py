"""An engine that starts a helper process and forgets it, as a careless library might."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelmora.testing.engines import Echo


class Sees(Echo):
    """An echo that tells on loading which device it was given, and which it can see."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"device": options["device"], "visible": os.environ["CUDA_VISIBLE_DEVICES"]}


class Parent(Echo):
    """An echo with a helper process."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        helper = os.fork()
        while helper == 0:
            signal.pause()
        return {"helper": helper}


class Stuck(Echo):
    """An echo whose load never ends."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        while True:
            signal.pause()
