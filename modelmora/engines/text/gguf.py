"""The engine of `txt2txt` on GGUF: llama.cpp's own slots, asked from a thread per request.

Imported in a child only; llama.cpp is loaded with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from modelmora.engines.adapters import ADAPTER, read_adapter
from modelmora.engines.base import Step, SteppedEngine
from modelmora.engines.images.pictures import as_png, decode, size_of
from modelmora.engines.options import option
from modelmora.engines.text import asking, llama
from modelmora.engines.text.asking import Sampling
from modelmora.engines.text.files import SLOTS, read_gguf_model
from modelmora.engines.text.llama import Said
from modelmora.engines.text.tools import TOOL_CALLS, Speech
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter

WAIT_S = 0.05
"""How long a step waits for the first token of any request."""
STANDSTILL_S = 120.0
"""After so long without a word llama.cpp is taken to be caught in a request, for good."""
EXIT_STANDSTILL = 70
# Assumed where places are reserved: of an image, and of what a template puts around the turns.
_IMAGE_TOKENS, _TEMPLATE_TOKENS = 2048, 512


@dataclass(slots=True, eq=False)
class _Running:
    """One request; its own thread reads `removed`, all else is the engine's."""

    key: int
    parameters: Mapping[str, Parameter]
    how: Sampling
    body: dict[str, Any]
    places: int
    images: Sequence[tuple[int, bytes]]
    speech: Speech
    request_id: str
    removed: bool = False
    said: list[Said] = field(default_factory=list)
    fresh: str = ""

    def hear(self, said: Said) -> None:
        self.said.append(said)
        self.fresh += self.speech.add(said.text)

    def end(self) -> Step:
        """The last step, once llama.cpp has said everything."""
        if error := next((said.error for said in self.said if said.error), None):
            return Step(self.key, error=error)
        finish = next((said.finish for said in self.said if said.finish), None)
        if finish is None:
            message = "llama.cpp gave this request up"
            return Step(self.key, error=RequestError(Code.INFERENCE_FAILED, message))
        rest, output, called = self.speech.end(self.request_id)
        outputs = [output]
        if self.how.logprobs is not None:
            entries = [entry for said in self.said for entry in said.logprobs]
            outputs.append(_logprobs(entries, self.how.logprobs))
        prompt = max(said.prompt_tokens for said in self.said)
        tokens = max(said.tokens for said in self.said)
        finish = TOOL_CALLS if called else finish
        settings = asking.told(self.parameters, self.how, finish, prompt, tokens)
        return Step(self.key, chunk=self.fresh + rest or None, outputs=outputs, settings=settings)


def _logprobs(entries: Sequence[Mapping[str, Any]], alternatives: int) -> str:
    return json.dumps(
        [
            asking.logprob(
                entry["token"],
                entry["logprob"],
                [(top["token"], top["logprob"]) for top in entry["top_logprobs"][:alternatives]],
            )
            for entry in entries
        ]
    )


class Gguf(SteppedEngine):
    """One GGUF model.

    Options: `slots` (requests at once), `context_length` (tokens of one request) and
    `token_pool` (tokens of all of them).
    """

    slots = SLOTS
    standstill_s = STANDSTILL_S

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; facts: context_length, slots, architecture. Raises LoadError."""
        self._files = read_gguf_model(path)
        room = self._files.room
        self.slots = option(options, "slots", SLOTS)
        self._pool = option(options, "token_pool", room.pool)
        self._context = min(option(options, "context_length", room.context), self._pool)
        self._adapters = sorted(self._files.adapters)
        self._own: Sequence[Path] = ()
        if place := options.get(ADAPTER):
            self._own = (read_adapter(Path(place)).path,)
        self._threads = self._wanted = len(os.sched_getaffinity(0))  # what a model alone gets
        self._running: dict[int, _Running] = {}
        self._waiting: deque[_Running] = deque()
        self._active: set[_Running] = set()  # the removed ones too, until llama.cpp lets go
        self._events: SimpleQueue[tuple[_Running, Said | None]] = SimpleQueue()
        self._decoding = Lock()
        self._heard_at = 0.0
        self._start()
        return {
            "context_length": self._context,
            "slots": self.slots,
            "architecture": self._files.header.architecture,
        }

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads, once nothing runs: llama.cpp must start anew."""
        if count > 0:
            self._wanted = count

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        """Take in a request. Raises RequestError for what shows before it is computed."""
        asked = asking.asked(
            request,
            parameters,
            template=self._files.template,
            takes_images=self._files.projector is not None,
        )
        how = asking.sampling(parameters, request.request_id)
        form = asking.form(parameters)
        if asked.tools and asked.tools.required:
            form = {"json_schema": asked.tools.schema()}
        body = llama.body_of(asked, how, form, seeded="seed" in parameters)
        for place, image in asked.images:
            size_of(image, f"input {place}")
        scales = asking.scales(parameters, self._adapters)
        # Those not named too, or they would stay as the request before had them.
        strengths = [*(scales.get(name, 0.0) for name in self._adapters), *(1.0 for _ in self._own)]
        if strengths:
            body["lora"] = [{"id": n, "scale": scale} for n, scale in enumerate(strengths)]
        places = asked.most_tokens + _TEMPLATE_TOKENS + _IMAGE_TOKENS * len(asked.images)
        places = min(places + how.max_tokens, self._context)
        self._running[key] = run = _Running(
            key,
            asked.shown(parameters),
            how,
            body,
            places,
            asked.images,
            Speech(asked.tools),
            request.request_id,
        )
        self._waiting.append(run)
        self._admit()

    def step(self) -> Sequence[Step]:
        """What the requests have said; waits at most `WAIT_S` for the first of it.

        Ends the process where llama.cpp stands still: an odd grammar can hold its one loop, which
        nothing stops, and with it all requests.
        """
        if not self._active:
            return ()
        if time.monotonic() - self._heard_at > self.standstill_s:
            sys.stderr.write("llama.cpp stands still\n")
            os._exit(EXIT_STANDSTILL)  # to leave in order is to wait for its loop
        heard: dict[_Running, bool] = {}
        try:
            run, said = self._events.get(timeout=WAIT_S)
            self._heard_at = time.monotonic()
            while True:
                heard[run] = said is None
                if said is not None:
                    run.hear(said)
                run, said = self._events.get_nowait()
        except Empty:
            pass
        steps = [self._step(run, ended=ended) for run, ended in heard.items()]
        self._admit()
        return [step for step in steps if step]

    def remove(self, key: int) -> None:
        """Forget a request; llama.cpp lets go of it at its next token."""
        run = self._running.pop(key)
        run.removed = True
        if run in self._waiting:
            self._waiting.remove(run)

    def _step(self, run: _Running, *, ended: bool) -> Step | None:
        if ended:
            self._active.discard(run)
        if run.removed:
            return None
        if ended:
            del self._running[run.key]
            return run.end()
        fresh, run.fresh = run.fresh, ""
        return Step(run.key, chunk=fresh) if fresh else None

    def _admit(self) -> None:
        """Begin with those that wait, in their order, while slots and places are free."""
        if not self._active and self._wanted != self._threads:
            self._start()
        while self._waiting and len(self._active) < self.slots:
            run = self._waiting[0]
            if sum(each.places for each in self._active) + run.places > self._pool:
                return
            self._waiting.popleft()
            if not self._active:
                self._heard_at = time.monotonic()
            self._active.add(run)
            Thread(target=self._ask, args=(run,), daemon=True).start()

    def _ask(self, run: _Running) -> None:
        def hear(said: Said) -> bool:
            if not run.removed:
                self._events.put((run, said))
            return run.removed

        try:
            if run.images:
                llama.show(run.body, self._pictures(run))
            llama.ask(self._server, run.body, hear)
        except RequestError as refusal:
            hear(Said(error=refusal))
        finally:
            self._events.put((run, None))

    def _pictures(self, run: _Running) -> Sequence[bytes]:
        """Its images, decoded and written anew: llama.cpp's decoder knows no limits.

        One request at a time, since a picture takes much memory meanwhile. Raises RequestError.
        """
        with self._decoding:
            return [as_png(decode(image, f"input {place}")) for place, image in run.images]

    def _start(self) -> None:
        self._server: Any = None  # its memory first
        self._threads = self._wanted
        adapters = [*(self._files.adapters[name] for name in self._adapters), *self._own]
        self._server = llama.start(
            self._files,
            slots=self.slots,
            pool=self._pool,
            threads=self._threads,
            adapters=adapters,
        )
