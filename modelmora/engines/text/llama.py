"""Llama.cpp as the GGUF engine uses it: started, asked, and what it says in our words."""

from __future__ import annotations

import base64
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import xllamacpp

from modelmora.engines.files import broken
from modelmora.engines.text import asking
from modelmora.engines.text.asking import Asked, Sampling
from modelmora.engines.text.files import GgufModel
from modelmora.errors import Code, RequestError
from modelmora.sandbox import kernel, seccomp

PROMPT_BATCH = 256
"""Tokens of prompts between two things that llama.cpp says; between them it cannot be stopped."""
_SILENT = -1
_PAUSE_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that llama.cpp said of a request."""

    text: str = ""
    logprobs: Sequence[Mapping[str, Any]] = ()
    finish: str | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    error: RequestError | None = None


def start(model: GgufModel, adapters: Sequence[Path], slots: int, pool: int, threads: int) -> Any:
    """Llama.cpp with the model, its cache and its slots in place. Raises LoadError."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model.path)
    if model.projector:
        params.mmproj.path = str(model.projector)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
    params.n_parallel, params.n_ctx = slots, pool
    params.n_batch = PROMPT_BATCH
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = params.fit_params = params.ctx_shift = False
    params.cache_ram_mib = 0
    params.offline = True
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.verbosity = _SILENT
    params.n_threads_http = 1
    params.endpoint_metrics = True
    with _unheard() as address:
        params.hostnames = [address]
        try:
            server = xllamacpp.Server(params)
            # Its loop answers this. To drop a server whose loop has not begun never returns.
            server.handle_metrics()
            return server
        except (RuntimeError, ValueError):
            raise broken(
                f"llama.cpp cannot load {model.path.name}; is its architecture "
                f"({model.header.architecture[:60]}) one that it knows?"
            ) from None


@contextmanager
def _unheard() -> Iterator[str]:
    """Where llama.cpp may listen, which it insists on, and nobody can ask it."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mm-llama-"))
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(f"{folder}/try.sock")
        except OSError:  # in an enclosed process, which may not listen at all
            seccomp.pretend_to_listen()
            # It tries again a microsecond later, for ever.
            stack.enter_context(kernel.unhurried(_PAUSE_NS))
            folder = ""
        yield str(Path(folder) / "none.sock")


def body_of(asked: Asked, how: Sampling, *, seeded: bool) -> dict[str, Any]:
    """The request as llama.cpp takes it.

    What earlier requests have computed of a prompt is used only where chance decides anyway: it
    changes the last bits, and so may change a token.
    """
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "max_tokens": how.max_tokens,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "top_k": how.top_k,
        "min_p": how.min_p,
        "repeat_penalty": how.repeat_penalty,
        "presence_penalty": how.presence_penalty,
        "frequency_penalty": how.frequency_penalty,
        "seed": how.seed,
        "stop": list(how.stop),
        "cache_prompt": not seeded and not how.greedy,
    }
    if not asked.turns:
        body["prompt"] = asked.prompt
        if how.logprobs is not None:
            body["logprobs"] = max(1, how.logprobs)
        return body
    if how.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": max(1, how.logprobs)}
    turns: list[dict[str, Any]] = [{"role": t.role, "content": t.content} for t in asked.turns]
    if asked.images:
        turns[-1]["content"] = [
            {"type": "text", "text": asked.turns[-1].content},
            *({"type": "image_url", "image_url": {"url": _url(image)}} for image in asked.images),
        ]
    body["messages"] = turns
    return body


def _url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def ask(server: Any, body: dict[str, Any], hear: Callable[[Said], bool]) -> None:
    """Ask and wait for the end; `hear` is called on the way and returns whether to stop."""
    call = server.handle_chat_completions if "messages" in body else server.handle_completions
    with ExitStack() as quiet:
        if "grammar" in body or "json_schema" in body:
            quiet.enter_context(_silence())

        def said(answer: Mapping[str, Any]) -> bool:
            quiet.close()
            return hear(_said(answer, body))

        try:
            call(body, said)
        except (RuntimeError, TypeError, ValueError):
            hear(Said(error=_refused(body)))  # its words may hold content


def _said(answer: Mapping[str, Any], body: Mapping[str, Any]) -> Said:
    if error := answer.get("error"):
        return Said(error=_fault(error, body))
    usage = answer.get("usage") or {}
    prompt, tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
    if not answer.get("choices"):
        return Said(prompt_tokens=prompt, tokens=tokens)
    choice = answer["choices"][0]
    text = choice["text"] if "text" in choice else choice.get("delta", {}).get("content")
    logprobs = (choice.get("logprobs") or {}).get("content") or ()
    return Said(text or "", logprobs, choice.get("finish_reason"), prompt, tokens)


def _fault(error: Mapping[str, Any], body: Mapping[str, Any]) -> RequestError:
    if error.get("type") == "exceed_context_size_error" and "n_prompt_tokens" in error:
        try:
            asking.check_length(int(error["n_prompt_tokens"]), int(error["n_ctx"]))
        except RequestError as refusal:
            return refusal
    if error.get("type") == "invalid_request_error":
        return _refused(body)
    return RequestError(Code.INFERENCE_FAILED, "llama.cpp failed on this request")


def _refused(body: Mapping[str, Any]) -> RequestError:
    what = "one of the images" if "image_url" in str(body.get("messages")) else "this prompt"
    for name in ("grammar", "json_schema"):
        what = f"`{name}`, or {what}" if name in body else what
    return RequestError(Code.INVALID_INPUT, f"the model cannot read {what}")


_lock = Lock()
_silences: list[int] = []


@contextmanager
def _silence() -> Iterator[None]:
    """Without standard error, a log: llama.cpp writes a grammar there that it cannot read."""
    with _lock:
        if not _silences:
            _silences.append(os.dup(2))
            # A pipe that nobody reads, since an enclosed process may open nothing to write.
            end, nowhere = os.pipe()
            os.dup2(nowhere, 2)
            os.close(nowhere)
            os.close(end)
        _silences.append(-1)
    try:
        yield
    finally:
        with _lock:
            _silences.pop()
            if len(_silences) == 1:
                kept = _silences.pop()
                os.dup2(kept, 2)
                os.close(kept)
