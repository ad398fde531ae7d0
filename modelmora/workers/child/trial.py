"""One request run before the model counts as loaded: what fails then fails nobody's request."""

from __future__ import annotations

from collections.abc import Mapping

from modelmora.engines.base import Engine, SteppedEngine
from modelmora.errors import RequestError, Undecodable
from modelmora.messages import Parameter
from modelmora.wire import decode_request
from modelmora.workers.batches import Batches
from modelmora.workers.child.execution import GroupRun, SafeSize
from modelmora.workers.child.stepping import SteppedRuns
from modelmora.workers.chunks import Chunk
from modelmora.workers.protocol import Run, RunItem


def fault_of(engine: Engine | SteppedEngine, value: bytes) -> RequestError | None:
    """Run an Avro request with its own parameters; why it failed, None where it did not."""
    try:
        request = decode_request(value)
    except Undecodable as undecodable:
        return undecodable
    run = Run(0, 1, request.parameters, (RunItem(request.request_id),), (value,))
    trial = _Trial()
    if not isinstance(engine, SteppedEngine):
        GroupRun(engine, run, SafeSize(), trial, trial.ended).execute()
        return trial.fault
    engine.use_threads(run.threads)
    runs = SteppedRuns(engine, trial)
    runs.take(run)
    while runs.busy:
        runs.turn()
    return trial.fault


class _Trial:
    """The world of a request that nobody sent: nothing is told, only how it ended is kept."""

    fault: RequestError | None = None

    def poll(self) -> None:
        """Nothing comes."""

    def batch_done(self) -> None:
        """Nothing leaves."""

    def started(self, group: int) -> None:
        """Nobody is told."""

    def tell(self, *told: int | Chunk) -> None:
        """Nobody is told."""

    def learned(self, _: Mapping[str, int | None]) -> None:
        """Nobody is told."""

    def is_cancelled(self, *_: int) -> bool:
        """Never."""
        return False

    def done(self, group: int, ms: float, batches: Batches) -> None:
        """Nobody is told."""

    def ended(
        self,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None,
    ) -> None:
        """It has an outcome."""
        self.fault = error

    def answer(
        self,
        group: int,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None = None,
    ) -> None:
        """It has an outcome."""
        self.fault = error
