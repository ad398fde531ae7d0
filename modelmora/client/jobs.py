"""A job: a request for which nobody needs to wait, by its id."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from modelmora.client.line import Line
from modelmora.client.pieces import Listener
from modelmora.client.values import Answer, JobStatus, Progress, job_status_of
from modelmora.rpc.v1 import inference_pb2 as pb

OnProgress = Callable[[Progress], object]


class AsyncJob:
    """A job of any gateway; whoever has its id and the same key may ask about it."""

    def __init__(self, line: Line, job_id: str) -> None:
        self.id = job_id
        self._line = line

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def status(self) -> JobStatus:
        """How it stands now. Raises CallError (`not_found`)."""
        return job_status_of(
            await self._line.ask("inference.GetJob", self._named(pb.GetJobRequest))
        )

    async def events(self, timeout_s: float | None = None) -> AsyncGenerator[Progress | JobStatus]:
        """How it stands, what is told of it, and last how it ended.

        Leaving it leaves the job alone; `timeout_s` None: without end. Raises CallError.
        """
        message, listener = self._named(pb.WatchJobRequest), Listener()
        told = self._line.tell("inference.WatchJob", message, _endless(timeout_s))
        async with aclosing(told) as words:
            async for word in words:
                if word.HasField("job"):
                    yield job_status_of(word.job)
                else:
                    for piece in listener.progress(word.progress, self.id):
                        yield piece

    async def wait(
        self, timeout_s: float | None = None, *, on_progress: OnProgress | None = None
    ) -> JobStatus:
        """How it ended. Raises CallError; DeadlineExceeded where it goes on for longer."""
        async with aclosing(self.events(timeout_s)) as events:
            async for event in events:
                if not isinstance(event, JobStatus):
                    if on_progress:
                        on_progress(event)
                elif event.ended:
                    return event
        return await self.status()

    async def result(
        self, timeout_s: float | None = None, *, on_progress: OnProgress | None = None
    ) -> Answer:
        """Its answer, waited for. Raises CallError as the job has ended, or `gone`."""
        ended = await self.wait(timeout_s, on_progress=on_progress)
        if ended.error:
            raise ended.error
        message, listener = self._named(pb.StreamResultRequest), Listener()
        told = self._line.tell("inference.StreamResult", message, request_id=self.id)
        async with aclosing(told) as words:
            async for word in words:
                for piece in listener.take(word):
                    if isinstance(piece, Answer):
                        return piece
        raise AssertionError("a result ends, or the call fails")

    async def cancel(self) -> JobStatus:
        """See to it that it does not run on; how it stands then. Raises CallError."""
        message = self._named(pb.CancelJobRequest)
        return job_status_of(await self._line.ask("inference.CancelJob", message))

    def _named(self, kind: Any) -> Any:
        return kind(request_id=self.id)


def _endless(timeout_s: float | None) -> float:
    return math.inf if timeout_s is None else timeout_s
