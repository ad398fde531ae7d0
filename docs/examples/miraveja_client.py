r"""A client of `model.v1` that lives with failures: deadlines, retries, a circuit breaker.

Compile the interface once, then run it against a gateway:

    python -m grpc_tools.protoc -I protos/modelmora/rpc/miraveja \
        --python_out=. --grpc_python_out=. model.proto
    python miraveja_client.py 127.0.0.1:9090 "a quiet sea" "a loud one"
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Open(Exception):
    """The circuit is open: the gateway has failed too often in a row, and is left alone."""


class Breaker:
    """Opens after so many failures in a row; then one probe at a time is let through."""

    def __init__(
        self, failures: int = 5, rest_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._rest_s = rest_s
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0

    def check(self) -> None:
        """Before each try. Raises Open."""
        if self._failures < self._most:
            return
        now = self._clock()
        if now < self._closed_until:
            raise Open(f"not asked for another {self._closed_until - now:.1f} s")
        self._closed_until = now + self._rest_s  # this one is the probe

    def succeeded(self) -> None:
        """It answers, if only to refuse."""
        self._failures = 0

    def failed(self) -> None:
        """It does not answer."""
        self._failures += 1
        self._closed_until = self._clock() + self._rest_s


class Caller:
    """Calls within one deadline, however many tries that takes."""

    def __init__(
        self, breaker: Breaker | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._breaker = breaker or Breaker()
        self._sleep = sleep

    def call(self, method: Any, request: Any, deadline_s: float = 30.0) -> Any:
        """The answer. Raises grpc.RpcError when it is refused or time is over, and Open."""
        ends = time.monotonic() + deadline_s
        pause = FIRST_PAUSE_S
        while True:
            self._breaker.check()
            left = ends - time.monotonic()
            try:
                answer = method(request, timeout=left)
            except grpc.RpcError as error:
                told = metadata_of(error)
                # What ModelMora itself refuses has a code: it is well, if only busy.
                if "modelmora-error-code" in told:
                    self._breaker.succeeded()
                elif error.code() is grpc.StatusCode.UNAVAILABLE:
                    self._breaker.failed()
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise  # asked again, it would be refused again
                wait = max(pause, int(told.get("modelmora-retry-after-ms", 0)) / 1000)
                wait *= random.uniform(0.5, 1.5)  # noqa: S311  (so that not all come back at once)
                if time.monotonic() + wait >= ends:
                    raise
                self._sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._breaker.succeeded()
                return answer


def batch(method: Any, request: Any, count: int, deadline_s: float = 60.0) -> Iterator[Any]:
    """The answers of a batch of so many in its order; in place of what failed, its code."""
    answers, failed = [], {}
    try:
        answers.extend(method(request, timeout=deadline_s))
    except grpc.RpcError as error:
        told = metadata_of(error).get("modelmora-failed-items")
        if told is None:
            raise
        failed = dict(each.split("=") for each in told.split(","))
    coming = iter(answers)
    for number in range(count):
        yield failed.get(str(number)) or next(coming)


def metadata_of(error: grpc.RpcError) -> dict[str, str]:
    """What stands behind an error."""
    return {name: str(value) for name, value in error.trailing_metadata() or ()}


def main(target: str, *texts: str) -> None:
    """Embeds the texts: the first alone, then all of them as a batch."""
    import model_pb2
    import model_pb2_grpc

    with grpc.insecure_channel(target) as channel:
        stub = model_pb2_grpc.TextEmbeddingsServiceStub(channel)
        request = model_pb2.TextEmbeddingRequest(request_id="first", text=texts[0])
        answer = Caller().call(stub.GenerateTextEmbedding, request)
        print(answer.request_id, answer.model_name, len(answer.embedding_vectors))
        many = model_pb2.BatchTextEmbeddingRequest(request_id="all", texts=texts)
        for each in batch(stub.GenerateBatchTextEmbeddings, many, len(texts)):
            print(
                each if isinstance(each, str) else f"{each.text}: {each.inference_time_millis} ms"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
