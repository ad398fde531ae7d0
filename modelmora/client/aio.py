"""The client for asyncio programs; the one for plain programs runs it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from modelmora.client import objects, tasks
from modelmora.client.asks import Input, contents_of, request_of
from modelmora.client.deadline import Deadline
from modelmora.client.errors import CallError
from modelmora.client.jobs import AsyncJob, OnProgress
from modelmora.client.line import Line
from modelmora.client.options import Options
from modelmora.client.pieces import Listener
from modelmora.client.values import (
    Answer,
    Label,
    Model,
    Piece,
    Ranked,
    Standing,
    Text,
    answer_of,
    model_of,
    standing_of,
)
from modelmora.messages import Content, ObjectRef, Parameter, SignedRef
from modelmora.rpc.contents import ref_of
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import management_pb2, registry_pb2
from modelmora.wire.ids import new_request_id

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

ORDER_S = 10.0
"""What an order may take beside the time that is waited for its end."""


class AsyncClient:
    """Asks models through one of several gateways (`host:port` of their gRPC doors).

    A call is made again where that can help, always with the id it began with, at another gateway
    where one does not answer. Every call raises CallError, or Invalid for what cannot be asked.
    `model` is a name or name@version, `priority` critical, high, normal or low, and `timeout_s`
    bounds the call with all its attempts and uploads (None: as in the options).
    """

    def __init__(self, *addresses: str, options: Options | None = None) -> None:
        self._line = Line(addresses, options or Options())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way end with the code `closed`."""
        await self._line.close()

    async def infer(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        parameters: Mapping[str, Parameter] | None = None,
        priority: str = "",
        timeout_s: float | None = None,
        request_id: str = "",
        on_progress: OnProgress | None = None,
    ) -> Answer:
        """The answer; `on_progress` is called with each piece that is told before."""
        if on_progress:
            return await self._infer_told(
                on_progress, model, inputs, parameters, priority, timeout_s, request_id
            )
        deadline = Deadline(self._line.options, timeout_s)
        async with deadline.bounds():
            request = await self._request(model, inputs, parameters, priority, request_id)
        told = await self._line.ask(
            "inference.Infer", request, deadline.left_s(), request_id=request.request_id
        )
        return answer_of(told)

    async def _infer_told(self, on_progress: OnProgress, *ask: Any) -> Answer:
        async with aclosing(self._stream(*ask)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    return piece
                on_progress(piece)
        raise AssertionError("a stream ends with its answer, or raises")

    def stream(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        parameters: Mapping[str, Parameter] | None = None,
        priority: str = "",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> AsyncGenerator[Piece]:
        """What is told of the request as it comes: Accepted, Started, Text, Step, Chunk; last its
        Answer. Closing it before cancels the request.
        """  # noqa: D205
        return self._stream(model, inputs, parameters, priority, timeout_s, request_id)

    async def _stream(
        self,
        model: str,
        inputs: Sequence[Input],
        parameters: Mapping[str, Parameter] | None,
        priority: str,
        timeout_s: float | None,
        request_id: str,
    ) -> AsyncGenerator[Piece]:
        deadline, listener = Deadline(self._line.options, timeout_s), Listener()
        async with deadline.bounds():
            request = await self._request(model, inputs, parameters, priority, request_id)
        told = self._line.tell(
            "inference.InferServerStream",
            request,
            deadline.left_s(),
            request_id=request.request_id,
        )
        async with aclosing(told) as words:
            async for word in words:
                for piece in listener.take(word):
                    yield piece

    async def _request(
        self,
        model: str,
        inputs: Sequence[Input],
        parameters: Mapping[str, Parameter] | None,
        priority: str,
        request_id: str,
        **more: Any,
    ) -> Any:
        contents = await self._shipped(contents_of(inputs))
        name = request_id or new_request_id()
        return request_of(name, model, contents, parameters or {}, priority, **more)

    async def _shipped(self, contents: list[Content | Path]) -> list[Content]:
        """The contents, the largest put into the object store until the rest is small enough."""
        sizes = {at: objects.size_of(given) for at, given in enumerate(contents)}
        left = sum(sizes.values())
        found: dict[int, Content] = {}
        for at in sorted(sizes, key=lambda each: -sizes[each]):
            if left <= self._line.options.inline_bytes:
                break
            if (ref := await self._put(*objects.form_of(contents[at]))) is None:
                break
            found[at] = ref
            left -= sizes[at]
        for at, given in enumerate(contents):
            if at not in found:
                found[at] = (
                    await asyncio.to_thread(objects.read, given)
                    if isinstance(given, Path)
                    else given
                )
        return [found[at] for at in range(len(contents))]

    async def _put(self, data: bytes | Path, media_type: str) -> ObjectRef | None:
        """What stands for it in the store; None where the gateways have none."""
        sha256 = await asyncio.to_thread(objects.sha256_of, data)
        size = objects.size_of(data)
        announced = pb.AnnounceObjectRequest(sha256=sha256, size=size, media_type=media_type)
        for attempt in range(objects.ATTEMPTS):
            try:
                place = await self._line.ask("inference.AnnounceObject", announced)
                await self._line.store.put(place.put_url, data, size, media_type)
                return ref_of(place.object)
            except CallError as error:
                if error.code == "refused":
                    return None
                if error.code != "store_unavailable" or attempt + 1 == objects.ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
        return None

    async def upload(self, content: Content | Path) -> ObjectRef:
        """Put a content or a file into the object store; the reference is an input of any request.

        Raises CallError (`refused` where the gateways have no store).
        """
        if (ref := await self._put(*objects.form_of(content))) is None:
            raise CallError("refused", "the gateways have no object store; see objects.store")
        return ref

    async def fetch(self, output: Content) -> Content:
        """The output itself, where it is a reference. Raises CallError (`gone`)."""
        if not isinstance(output, ObjectRef):
            return output
        async with aclosing(self._line.store.pieces(_signed(output))) as pieces:
            return await objects.whole(pieces, output)

    async def download(self, output: ObjectRef, path: str | Path) -> None:
        """Write the bytes of an output to a file, which is there once all were seen to be right.

        Raises CallError (`gone`), OSError.
        """
        async with aclosing(self._line.store.pieces(_signed(output))) as pieces:
            await objects.into(pieces, Path(path))

    async def _whole(self, model: str, inputs: Sequence[Input], params: dict[str, Any]) -> Answer:
        """The answer with its outputs themselves in place of references."""
        deadline = Deadline(self._line.options, params.pop("timeout_s", None))
        left_s = deadline.left_s()
        answer = await self.infer(model, inputs, parameters=params, timeout_s=left_s)
        async with deadline.bounds():
            outputs = tuple([await self.fetch(each) for each in answer.outputs])
        return replace(answer, outputs=outputs)

    async def embed(
        self, /, model: str, texts: Sequence[str], **params: Any
    ) -> np.ndarray[Any, Any]:
        """The vectors of texts, float32 [n, dim]. Raises MissingExtra without numpy.

        Here and below `params` are the model's parameters, and `timeout_s`.
        """
        tasks.check_numpy()
        return tasks.vectors_of(await self._whole(model, texts, params))

    async def generate(self, /, model: str, prompt: str, **params: Any) -> str:
        """The text that answers a prompt."""
        return tasks.text_of(await self._whole(model, [prompt], params))

    async def chat(self, /, model: str, messages: Sequence[Input], **params: Any) -> str:
        """The next turn of a conversation, whose messages have `role` and `content`."""
        return tasks.text_of(await self._whole(model, messages, params))

    async def chat_stream(
        self, /, model: str, messages: Sequence[Input], **params: Any
    ) -> AsyncGenerator[str]:
        """The same, as it is written. Raises CallError (`inference_failed`) too where it had to be
        computed again and came out otherwise.
        """  # noqa: D205
        timeout_s = params.pop("timeout_s", None)
        stream = self.stream(model, messages, parameters=params, timeout_s=timeout_s)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if isinstance(piece, Text):
                    if piece.anew:
                        message = "it was computed another time and came out otherwise; ask again"
                        raise CallError("inference_failed", message)
                    yield piece.text

    async def rerank(
        self,
        /,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **params: Any,
    ) -> list[Ranked]:
        """The documents that fit the query, the best first."""
        answer = await self._whole(model, [query, *documents], params)
        return tasks.ranked_of(answer, len(documents), top_n)

    async def classify(
        self, /, model: str, inputs: Sequence[Input], **params: Any
    ) -> list[list[Label]]:
        """The labels of each input, the best first."""
        return tasks.labels_of(await self._whole(model, inputs, params))

    async def image(self, /, model: str, prompt: str, **params: Any) -> Image:
        """The image of a prompt. Raises MissingExtra without pillow."""
        tasks.check_pillow()
        return tasks.image_of(await self._whole(model, [prompt], params))

    async def submit(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        parameters: Mapping[str, Parameter] | None = None,
        priority: str = "",
        timeout_s: float | None = None,
        request_id: str = "",
        progress: bool = True,
    ) -> AsyncJob:
        """A job that runs whether anybody waits or not, for `timeout_s` at most (None: as the
        gateway has it). `progress`: its events tell its text and steps as they come.
        """  # noqa: D205
        timeout_ms = None if timeout_s is None else max(1, round(timeout_s * 1000))
        more = {"timeout_ms": timeout_ms, "progress": progress}
        request = await self._request(model, inputs, parameters, priority, request_id, **more)
        # A deadline of the call would be that of the job.
        told = await self._line.ask(
            "inference.InferAsync", request, request_id=request.request_id, bounded=False
        )
        return AsyncJob(self._line, told.request_id)

    def job(self, job_id: str) -> AsyncJob:
        """The job of that id, whoever has submitted it; nothing is asked yet."""
        return AsyncJob(self._line, job_id)

    async def models(self, *, task: str = "", name: str = "") -> list[Model]:
        """The models of the registry, of a task or name where one is told."""
        found: list[Model] = []
        token = ""
        while True:
            message = registry_pb2.ListModelsRequest(task=task, name=name, page_token=token)
            page = await self._line.ask("registry.List", message)
            found += map(model_of, page.models)
            if not (token := page.next_page_token):
                return found

    async def model(self, name: str, version: str = "") -> Model:
        """One of them; of its versions the active one. Raises CallError (`not_found`)."""
        message = registry_pb2.GetModelRequest(name=name, version=version)
        return model_of(await self._line.ask("registry.Get", message))

    async def load(
        self, model: str, *, wait_s: float = 60.0, everywhere: bool = False
    ) -> list[Standing]:
        """Load it before it is asked for; how it is where a node has answered within `wait_s`."""
        return await self._order("Load", model, wait_s, everywhere=everywhere)

    async def unload(self, model: str, *, wait_s: float = 60.0) -> list[Standing]:
        """Give its memory back on every node; requests load it again."""
        return await self._order("Unload", model, wait_s)

    async def pin(self, model: str, *, wait_s: float = 60.0) -> list[Standing]:
        """Keep it in memory on every node that serves it."""
        return await self._order("Pin", model, wait_s)

    async def unpin(self, model: str, *, wait_s: float = 60.0) -> list[Standing]:
        """Let it leave again when room is needed."""
        return await self._order("Unpin", model, wait_s)

    async def _order(
        self, verb: str, model: str, wait_s: float, *, everywhere: bool = False
    ) -> list[Standing]:
        wait_ms = math.ceil(wait_s * 1000)
        message = management_pb2.OrderRequest(model=model, wait_ms=wait_ms, everywhere=everywhere)
        reply = await self._line.ask(f"management.{verb}", message, wait_s + ORDER_S)
        return [standing_of(each) for each in reply.models]

    async def status(self) -> list[Standing]:
        """The nodes that run, and how each model is there."""
        reply = await self._line.ask("management.Status", management_pb2.StatusRequest())
        return [standing_of(each) for each in reply.models]


def _signed(output: ObjectRef) -> SignedRef:
    if isinstance(output, SignedRef):
        return output
    raise CallError("gone", "there is no URL for this object; it is another's, or has expired")
