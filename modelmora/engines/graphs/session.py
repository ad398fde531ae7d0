"""An ONNX graph in memory, run by ONNX Runtime.

ONNX Runtime starts a thread when it is imported, and a child can enclose itself only before: so it
is imported when a graph is loaded, not with this module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from modelmora.engines.base import LoadError
from modelmora.engines.files import broken
from modelmora.engines.graphs.graph import Graph
from modelmora.engines.options import option
from modelmora.errors import Code

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""By the names that the option `providers` takes."""
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc")
_WORTH = 20
_SILENT = 4  # its own words may hold what callers sent


class Session:
    """One graph, ready to run.

    Options: `providers` (a list of names, the first that can compute an operator does; the CPU is
    always the last) and `intra_op` (threads; 0 or none: those that `use_threads` tells).
    """

    def __init__(self, graph: Graph, options: Mapping[str, Any]) -> None:
        """Raises LoadError."""
        self._graph = graph
        self.providers = _providers(option(options, "providers", ()))
        self._fixed = option(options, "intra_op", 0)
        self._threads = self._wanted = self._fixed or 1
        self._since = self._open_s = 0.0
        self._files = _marks(graph)
        self._session = self._open()

    def use_threads(self, count: int) -> None:
        """Compute with this many threads from now on.

        A session has its threads for life, and another takes about half of a load. So it is made
        anew at once to grow; to shrink only when that has been its share for `_WORTH` times as long
        as it took to open: until then threads beyond the share wait for a core without spinning,
        which costs little (2 threads on one core: 380 ms, one thread: 360 ms). And not at all once
        files beside the graph are others: what was loaded goes on.
        """
        if not self._fixed and 0 < count != self._wanted:
            self._wanted, self._since = count, time.monotonic()
        if self._wanted > self._threads:
            self._reopen()

    def _reopen(self) -> None:
        if self._files == _marks(self._graph):
            self._threads = self._wanted
            self._session = None  # frees its memory first
            self._session = self._open()

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs as arrays, in the graph's order. Raises MemoryError, and what it raises."""
        waited_s = time.monotonic() - self._since
        shrinks = self._wanted < self._threads and waited_s >= _WORTH * self._open_s
        if shrinks or self._session is None:  # none: memory ran out when it was opened again
            self._reopen()
        try:
            outputs: Sequence[Any] = self._session.run(None, dict(feeds))
        except Exception as error:
            if any(words in str(error) for words in _NO_MEMORY):
                raise MemoryError from None
            raise
        return outputs

    def _open(self) -> Any:
        import onnxruntime

        began = time.monotonic()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                str(self._graph.path), options, providers=[PROVIDERS[p] for p in self.providers]
            )
        except Exception as error:
            if any(words in str(error) for words in _NO_MEMORY):
                raise MemoryError from None
            kind = type(error).__name__
            raise broken(f"ONNX Runtime cannot read {self._graph.path.name} ({kind})") from error
        self._open_s = time.monotonic() - began
        missing = {PROVIDERS[p] for p in self.providers} - {*session.get_providers()}
        if missing:
            raise _absent(next(p for p in self.providers if PROVIDERS[p] in missing))
        return session


def _marks(graph: Graph) -> Mapping[str, tuple[int, int, int]]:
    """What tells whether the files beside a graph are still the same."""
    stats = {entry.name: entry.stat() for entry in os.scandir(graph.path.parent)}
    return {name: (one.st_ino, one.st_ctime_ns, one.st_size) for name, one in stats.items()}


def _providers(wanted: Any) -> tuple[str, ...]:
    names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    names = [str(name).strip().lower() for name in names]
    import onnxruntime

    there = onnxruntime.get_available_providers()
    for name in names:
        if name not in PROVIDERS:
            raise broken(f"`providers` takes {', '.join(PROVIDERS)}, and not {name[:40]!r}")
        if PROVIDERS[name] not in there:
            raise _absent(name)
    return tuple(dict.fromkeys([*names, "cpu"]))


def _absent(provider: str) -> LoadError:
    return LoadError(
        Code.MODEL_UNAVAILABLE,
        f"the provider {provider} cannot be used here; install an onnxruntime that has it, or "
        "leave it out of `providers`",
    )
