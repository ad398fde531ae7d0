"""The client over Kafka, for plain programs."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar, Unpack

from modelmora.client.errors import forked
from modelmora.client.kafka.aio import MOST_AWAITED, AsyncKafkaClient, completed
from modelmora.client.kafka.asked import How
from modelmora.client.kafka.asking import AsyncReply
from modelmora.client.kafka.subscription import (
    Subscription,
    Where,
    events_of,
    progress_of,
    results_of,
    samples_of,
)
from modelmora.client.loop import Loop
from modelmora.messages import (
    Content,
    InferenceResult,
    LifecycleEvent,
    MetricSample,
    ProgressEvent,
)
from modelmora.settings import Settings

T = TypeVar("T")


class Reply:
    """The outcome of one request, once it is there."""

    def __init__(self, client: KafkaClient, reply: AsyncReply) -> None:
        self._client = client
        self._reply = reply
        self.request_id = reply.request_id

    @property
    def done(self) -> bool:
        """Whether the outcome is there, or none will come."""
        return self._reply.done

    def result(self, timeout_s: float | None = None) -> InferenceResult:
        """The outcome, whatever its status, as `AsyncReply.result` has it."""
        return self._client.do(self._reply.result(timeout_s))


class KafkaClient:
    """Asks models by records and reads their outcomes: `AsyncKafkaClient` in a thread of its own.

    Use it with `with`. Any number of threads may share it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: str = "modelmora",
        *,
        settings: Settings | None = None,
        most_awaited: int = MOST_AWAITED,
    ) -> None:
        """Connects. Raises Unreachable, WrongCredentials, NotFound (no topics)."""
        self._loop = Loop()
        self._pid = os.getpid()
        try:
            self._client = self.do(_started(bootstrap_servers, namespace, settings, most_awaited))
        except BaseException:
            self._loop.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left to write, if the broker takes it soon, and disconnect."""
        self._loop.close(self._client.close)

    def ask(self, model: str, inputs: Sequence[Content], **how: Unpack[How]) -> Reply:
        """Send a request and await its outcome, as `AsyncKafkaClient.ask` does."""
        return Reply(self, self.do(self._client.ask(model, inputs, **how)))

    def infer(self, model: str, inputs: Sequence[Content], **how: Unpack[How]) -> InferenceResult:
        """Ask and await. Raises CallError with its error's code where it is not COMPLETED."""
        return completed(self.ask(model, inputs, **how).result())

    def submit(self, model: str, inputs: Sequence[Content], **how: Unpack[How]) -> str:
        """Write a request whose outcome nobody awaits here; its id, once the broker has it."""
        return self.do(self._client.submit(model, inputs, **how))

    def cancel(self, request_id: str, *, principal: str = "") -> None:
        """Take a request back; only who asked for it may."""
        self.do(self._client.cancel(request_id, principal=principal))

    def results(self, **where: Unpack[Where]) -> Subscription[InferenceResult]:
        """Outcomes, of whoever asked."""
        return results_of(self._client.settings, **where)

    def progress(self, **where: Unpack[Where]) -> Subscription[ProgressEvent]:
        """How requests get on: those asked with `progress`, and what gateways are asked."""
        return progress_of(self._client.settings, **where)

    def events(self, **where: Unpack[Where]) -> Subscription[LifecycleEvent]:
        """What happens to models and nodes."""
        return events_of(self._client.settings, **where)

    def metrics(self, **where: Unpack[Where]) -> Subscription[MetricSample]:
        """What nodes and gateways measure, as it comes."""
        return samples_of(self._client.settings, **where)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the client's loop and wait for it. Raises CallError (`forked`)."""
        if self._pid != os.getpid():
            work.close()
            raise forked()
        return self._loop.wait(work)


async def _started(
    servers: str, namespace: str, settings: Settings | None, most_awaited: int
) -> AsyncKafkaClient:
    client = AsyncKafkaClient(servers, namespace, settings=settings, most_awaited=most_awaited)
    await client.start()
    return client
