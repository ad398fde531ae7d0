"""Callers of the REST door, each in a thread, and what each was told."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from tests.checker import Told

WAIT_S = 240.0
AT_ONCE = 16
PAUSE_S = 0.3


class Callers:
    """A context manager; a caller is patient, so only a door that fails it leaves it untold.

    With `again` a caller whose door has gone asks with the same id until the time is over.
    """

    def __init__(self, http: str, *, again: bool = False) -> None:
        self._http = http
        self._again = again
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="caller")
        self._asked: list[Future[Told]] = []

    def ask(self, model: str, body: Mapping[str, Any]) -> Future[Told]:
        """Let one caller ask."""
        asked = self._pool.submit(self._call, model, body)
        self._asked.append(asked)
        return asked

    @property
    def waiting(self) -> int:
        """How many have not been told."""
        return sum(not each.done() for each in self._asked)

    def told(self) -> tuple[Told, ...]:
        """What every caller was told, waited for."""
        return tuple(each.result() for each in self._asked)

    def _call(self, model: str, body: Mapping[str, Any]) -> Told:
        headers = {"content-type": "application/json"}
        if self._again:
            headers["x-request-id"] = str(uuid.uuid4())
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return self._once(model, body, headers)
            # A door that dies while it answers is no OSError.
            except (OSError, HTTPException) as error:
                if not self._again or time.monotonic() > until:
                    return Told("", None, f"{type(error).__name__} {error}", time.time())
            time.sleep(PAUSE_S)

    def _once(self, model: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Told:
        request = urllib.request.Request(
            f"{self._http}/infer/{model}", json.dumps(body).encode(), dict(headers)
        )
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
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
