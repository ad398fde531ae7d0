"""The client for plain programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import grpc

from modelmora.client.content import Answer, answer_of, check_numpy, request_of, vectors_of
from modelmora.client.errors import error_of
from modelmora.client.gateways import CHANNEL, Course, Gateways, Options
from modelmora.messages import Content, Parameter
from modelmora.rpc.v1 import inference_pb2_grpc
from modelmora.wire.ids import new_request_id

if TYPE_CHECKING:
    import numpy as np


class Client:
    """Asks models through one of several gateways (`host:port` of their gRPC doors).

    A call is made again where that can help, always with the id it began with, at another gateway
    where one does not answer. Every call raises CallError, or Invalid for what cannot be asked.
    """

    def __init__(self, *addresses: str, options: Options | None = None) -> None:
        self._options = options or Options()
        self._gateways = Gateways(len(addresses))
        self._channels = [self._open(address) for address in addresses]
        stub: Any = inference_pb2_grpc.InferenceServiceStub
        self._stubs = [stub(each) for each in self._channels]

    def _open(self, address: str) -> Any:
        if (credentials := self._options.credentials()) is not None:
            return grpc.secure_channel(address, credentials, CHANNEL)
        return grpc.insecure_channel(address, CHANNEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way end."""
        for channel in self._channels:
            channel.close()

    def infer(
        self,
        model: str,
        inputs: Sequence[Content],
        *,
        parameters: Mapping[str, Parameter] | None = None,
        priority: str = "",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Answer:
        """Ask `model` (name or name@version); `priority` is critical, high, normal or low."""
        course = Course(self._options, timeout_s)
        request_id = request_id or new_request_id()
        request = request_of(request_id, model, inputs, parameters or {}, priority)
        for attempt in course.attempts():
            with attempt, self._gateways.trying() as at:
                try:
                    answer = self._stubs[at].Infer(
                        request, timeout=course.left_s(), metadata=self._options.metadata
                    )
                except grpc.RpcError as error:
                    raise error_of(error, request_id) from None
                return answer_of(answer)
        raise AssertionError("the last attempt raises or returns")

    def embed(
        self, texts: Sequence[str], *, model: str, timeout_s: float | None = None
    ) -> np.ndarray[Any, Any]:
        """The vectors of texts, float32 [n, dim]. Raises MissingExtra without numpy."""
        check_numpy()
        return vectors_of(self.infer(model, texts, timeout_s=timeout_s))
