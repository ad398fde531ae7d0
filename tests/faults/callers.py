"""Callers of the REST door, each in a thread, and what each was told."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from tests.checker import Told

WAIT_S = 240.0
AT_ONCE = 16


class Callers:
    """A context manager; a caller is patient, so only a door that fails it leaves it untold."""

    def __init__(self, http: str) -> None:
        self._http = http
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="caller")
        self._asked: list[Future[Told]] = []

    def ask(self, model: str, body: Mapping[str, Any]) -> None:
        """Let one caller ask."""
        self._asked.append(self._pool.submit(self._call, model, body))

    def told(self) -> tuple[Told, ...]:
        """What every caller was told, waited for."""
        return tuple(each.result() for each in self._asked)

    def _call(self, model: str, body: Mapping[str, Any]) -> Told:
        request = urllib.request.Request(
            f"{self._http}/infer/{model}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        except OSError as error:
            return Told("", None, f"{type(error).__name__} {error}", time.time())
        code = str(answer.get("code", ""))
        right = code or answer["outputs"] == body["inputs"]
        what = str(answer.get("detail", "")) if right else "other outputs than were asked for"
        return Told(str(answer.get("request_id", "")), code if right else None, what, time.time())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
