"""Llama.cpp as the GGUF engine uses it: started, asked, and what it says in our words."""

from __future__ import annotations

import base64
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xllamacpp

from modelmora.engines.files import broken
from modelmora.engines.text import asking
from modelmora.engines.text.asking import Asked, Sampling
from modelmora.engines.text.files import GgufModel
from modelmora.engines.text.tools import turn_form
from modelmora.errors import Code, RequestError
from modelmora.sandbox import kernel, seccomp

PROMPT_BATCH = 256
"""Tokens of prompts between two things that llama.cpp says; between them it cannot be stopped."""
_SILENT = -1
_PLAIN = "modelmora_plain"
_AS_IT_STANDS = "{{ messages[0].content }}"
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
"""For images beside the prompt of a model without a template, as llama.cpp has it."""
_TOO_LONG = re.compile(r"input \((\d+) tokens\) is too large")
_FAILED = RequestError(Code.INFERENCE_FAILED, "llama.cpp failed on this request")
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


@dataclass(frozen=True, slots=True)
class Texts:
    """That whole texts are to be computed, of up to so many tokens: to vectors, or to ranks."""

    tokens: int
    ranks: bool


class TooLong(Exception):
    """A text has more tokens than the model takes."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self.tokens = tokens


def start(
    model: GgufModel,
    *,
    slots: int,
    pool: int,
    threads: int,
    adapters: Sequence[Path] = (),
    texts: Texts | None = None,
) -> Any:
    """Llama.cpp with the model, its cache and its slots in place. Raises LoadError."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model.path)
    if model.projector:
        params.mmproj.path = str(model.projector)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
    params.n_parallel, params.n_ctx = slots, pool
    params.n_batch = PROMPT_BATCH
    if texts:
        params.embedding = True
        params.n_batch = params.n_ubatch = texts.tokens
        if texts.ranks:
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = params.fit_params = params.ctx_shift = False
    params.cache_ram_mib = 0
    params.offline = True
    params.chat_template = _template_of(model)
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


def _template_of(model: GgufModel) -> str:
    """The model's own, with a way past it: only what goes through a template has its schema judged.

    A newline at its end would not be written where it is the whole.
    """
    told = model.header.values.get("tokenizer.chat_template")
    own = str(told).removesuffix("\n") if told else _CHATML
    return f"{{% if {_PLAIN} %}}{_AS_IT_STANDS}{{% else %}}{own}{{% endif %}}"


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


def embed(server: Any, texts: Sequence[str]) -> tuple[list[np.ndarray[Any, Any]], int]:
    """A vector of each text, of length 1, and the tokens of all. Raises TooLong, RequestError."""
    answer = _whole(server.handle_embeddings({"input": list(texts), "encoding_format": "base64"}))
    found = sorted(answer["data"], key=lambda each: each["index"])
    vectors = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in found]
    return vectors, int(answer["usage"]["prompt_tokens"])


def rerank(server: Any, query: str, documents: Sequence[str]) -> tuple[list[float], int]:
    """What the model makes of each document, and all tokens. Raises TooLong, RequestError."""
    answer = _whole(server.handle_rerank({"query": query, "documents": list(documents)}))
    found = sorted(answer["results"], key=lambda each: each["index"])
    return [each["relevance_score"] for each in found], int(answer["usage"]["prompt_tokens"])


def _whole(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer that is no error."""
    if not (error := answer.get("error")):
        return answer
    if told := _TOO_LONG.match(str(error.get("message"))):
        raise TooLong(int(told[1]))
    if "n_prompt_tokens" in error:
        raise TooLong(int(error["n_prompt_tokens"]))
    if error.get("type") == "invalid_request_error":
        message = "is empty for this model, which makes no token of it"
        raise RequestError(Code.INVALID_INPUT, message)
    raise _FAILED


def body_of(
    asked: Asked, how: Sampling, form: Mapping[str, Any], *, seeded: bool
) -> dict[str, Any]:
    """The request as llama.cpp takes it; `form` as `asking.form` gives it.

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
        **form,
    }
    turns = [turn_form(turn, parsed=False) for turn in asked.turns]
    if asked.tools:
        # Shown to the model by its template, while calls are read by us, as of all our models.
        body |= {"tools": [*asked.tools.told], "tool_choice": "none"}
    if not turns and "json_schema" in form:
        # Asked without a template, llama.cpp takes a schema that it cannot use for none.
        turns = [{"role": "user", "content": asked.prompt}]
        body["chat_template_kwargs"] = {_PLAIN: True}
    if not turns:
        body["prompt"] = asked.prompt
        if how.logprobs is not None:
            body["logprobs"] = max(1, how.logprobs)
        return body
    if how.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": max(1, how.logprobs)}
    body["messages"] = turns
    return body


def show(body: dict[str, Any], images: Sequence[bytes]) -> None:
    """Put images (PNG) before the words of the last turn: llama.cpp ends where none are behind."""
    last = body["messages"][-1]
    urls = (f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in images)
    last["content"] = [
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
        {"type": "text", "text": last["content"]},
    ]


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
    return _FAILED


def _refused(body: Mapping[str, Any]) -> RequestError:
    what = "one of the images" if "image_url" in str(body.get("messages")) else "this prompt"
    for name in ("grammar", "json_schema", "tools"):
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
