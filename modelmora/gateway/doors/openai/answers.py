"""Outcomes as clients of OpenAI's read them."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelmora.errors import Code
from modelmora.gateway.doors.openai.offered import calls_of
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ChatMessage, InferenceResult, RegistryRecord, Tensor
from modelmora.web.problems import DoorCode
from modelmora.wire.tensors import BadTensor, to_nested


class Chat:
    """The shapes of `/v1/chat/completions`."""

    object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    prefix = "chatcmpl-"

    @staticmethod
    def choice(index: int, result: InferenceResult) -> dict[str, Any]:
        """A whole answer."""
        text, calls = text_of(result), calls_of(result.outputs[0])
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": calls}
        return {"index": index, "message": message, **Chat._end(result)}

    @staticmethod
    def delta(index: int, text: str | None, result: InferenceResult | None) -> dict[str, Any]:
        """A part of an answer: its beginning (`text` None), more of it, or its end (`result`)."""
        if result:
            return {"index": index, "delta": {"content": text} if text else {}, **Chat._end(result)}
        begun = {"role": "assistant", "content": ""}
        delta = begun if text is None else {"content": text}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    @staticmethod
    def calls(index: int, result: InferenceResult) -> list[dict[str, Any]]:
        """The parts of an answer that call tools, each of them whole."""
        return [
            {
                "index": index,
                "delta": {"tool_calls": [{"index": number, **call}]},
                "logprobs": None,
                "finish_reason": None,
            }
            for number, call in enumerate(calls_of(result.outputs[0]))
        ]

    @staticmethod
    def _end(result: InferenceResult) -> dict[str, Any]:
        told = _logprobs(result)
        shown = told and {"content": [_token(each) for each in told], "refusal": None}
        return {"logprobs": shown, "finish_reason": _finish(result)}


class Completion:
    """The shapes of `/v1/completions`."""

    object = "text_completion"
    chunk_object = "text_completion"
    prefix = "cmpl-"

    @staticmethod
    def choice(index: int, result: InferenceResult) -> dict[str, Any]:
        """A whole answer."""
        return Completion._choice(index, text_of(result), result)

    @staticmethod
    def delta(index: int, text: str | None, result: InferenceResult | None) -> dict[str, Any]:
        """A part of an answer, or its end."""
        return Completion._choice(index, text or "", result)

    @staticmethod
    def calls(_index: int, _result: InferenceResult) -> list[dict[str, Any]]:
        """None: a prompt that is continued as it stands offers no tools."""
        return []

    @staticmethod
    def _choice(index: int, text: str, result: InferenceResult | None) -> dict[str, Any]:
        told = result and _logprobs(result)
        shown = None
        if told:
            shown = {
                "tokens": [each["token"] for each in told],
                "token_logprobs": [each["logprob"] for each in told],
                "top_logprobs": [
                    {other["token"]: other["logprob"] for other in each["top"]} for each in told
                ],
                "text_offset": _offsets(each["token"] for each in told),
            }
        finish = _finish(result) if result else None
        return {"index": index, "text": text, "logprobs": shown, "finish_reason": finish}


Shape = type[Chat] | type[Completion]


def text_of(result: InferenceResult) -> str:
    """The text of an answer. Raises Refusal where the model answers otherwise."""
    match result.outputs:
        case [str() as text, *_] | [ChatMessage(content=text), *_]:
            return text
    raise _unsuited(result, "answers no text; ask a model of task txt2txt")


def completed(shape: Shape, results: Sequence[InferenceResult], inputs: int) -> dict[str, Any]:
    """The answer to a whole body; `inputs`: how many prompts it held. Raises Refusal."""
    return {
        **head(shape, results[0].request_id, results[0].model),
        "object": shape.object,
        "choices": [shape.choice(index, result) for index, result in enumerate(results)],
        "usage": usage(results, inputs),
    }


def head(shape: Shape, request_id: str, model: str) -> dict[str, Any]:
    """What each chunk and each answer begins with."""
    return {
        "id": f"{shape.prefix}{request_id}",
        "object": shape.chunk_object,
        "created": int(time.time()),
        "model": model,
    }


def usage(results: Sequence[InferenceResult], inputs: int) -> dict[str, int]:
    """The tokens read and made; a prompt that was answered `n` times counts once."""
    each = len(results) // inputs
    read = sum(_count(result, "prompt_tokens") for result in results[::each])
    made = sum(_count(result, "completion_tokens") for result in results)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def embedded(result: InferenceResult, encoding: str) -> dict[str, Any]:
    """The vectors, as numbers or as base64 of little-endian FP32. Raises Refusal."""
    tensor = _tensor(result, "vectors; ask a model of task txt2embed", rank=2)
    count, width = tensor.shape
    data = tensor.data
    if encoding == "base64":
        shown: list[Any] = [
            base64.b64encode(data[at * 4 * width : (at + 1) * 4 * width]).decode()
            for at in range(count)
        ]
    else:
        shown = numbers(result, tensor)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": vector}
            for at, vector in enumerate(shown)
        ],
        "model": result.model,
        "usage": _read(result),
    }


def reranked(
    result: InferenceResult, documents: Sequence[str], most: int | None, *, told: bool
) -> dict[str, Any]:
    """The best documents first, by their scores; `told`: with their texts. Raises Refusal."""
    scores = numbers(result, _tensor(result, "scores; ask a model of task rerank", rank=1))
    if len(scores) != len(documents):
        raise _unsuited(result, "answers no scores; ask a model of task rerank")
    order = sorted(range(len(scores)), key=lambda at: -scores[at])[:most]
    found: list[dict[str, Any]] = [
        {"index": at, "relevance_score": scores[at]}
        | ({"document": {"text": documents[at]}} if told else {})
        for at in order
    ]
    return {
        "id": result.request_id,
        "model": result.model,
        "results": found,
        "usage": _read(result),
    }


def pictured(result: InferenceResult) -> dict[str, Any]:
    """The images. Raises Refusal."""
    images = [each for each in result.outputs if isinstance(each, bytes)]
    if not images:
        raise _unsuited(result, "answers no images; ask a model of task txt2img")
    return {
        "created": int(time.time()),
        "data": [{"b64_json": base64.b64encode(each).decode()} for each in images],
        "output_format": "png",
    }


def listed(models: Iterable[RegistryRecord], active: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each name once, with the task of the version that answers for it."""
    tasks: dict[str, str] = {}
    for model in models:
        if active.get(model.name) == model.version:
            tasks[model.name] = model.task
        tasks.setdefault(model.name, model.task)
    return [
        {"id": name, "object": "model", "created": 0, "owned_by": "modelmora", "task": task}
        for name, task in sorted(tasks.items())
    ]


def _tensor(result: InferenceResult, wanted: str, *, rank: int) -> Tensor:
    output = result.outputs[0] if result.outputs else None
    if isinstance(output, Tensor) and output.dtype == "FP32" and len(output.shape) == rank:
        return output
    raise _unsuited(result, f"answers no {wanted}")


def numbers(result: InferenceResult, tensor: Tensor) -> list[Any]:
    """A tensor of FP32 as nested lists. Raises Refusal where one of its elements is no number."""
    try:
        found: list[Any] = to_nested(tensor)
    except BadTensor as error:
        raise _broken(result, str(error)) from None
    if not math.isfinite(sum(memoryview(tensor.data).cast("f"))):  # JSON has no number for it
        raise _broken(result, "they are no numbers")
    return found


def _logprobs(result: InferenceResult) -> list[Mapping[str, Any]] | None:
    if "logprobs" not in result.settings or len(result.outputs) < 2:
        return None
    found: list[Mapping[str, Any]] = json.loads(str(result.outputs[1]))  # -Infinity may be there
    return found


def _token(told: Mapping[str, Any]) -> dict[str, Any]:
    def shown(each: Mapping[str, Any]) -> dict[str, Any]:
        text = str(each["token"])
        return {"token": text, "logprob": each["logprob"], "bytes": [*text.encode()]}

    return {**shown(told), "top_logprobs": [shown(each) for each in told["top"]]}


def _offsets(tokens: Iterable[str]) -> list[int]:
    found, at = [], 0
    for token in tokens:
        found.append(at)
        at += len(token)
    return found


def _finish(result: InferenceResult) -> str:
    return str(result.settings.get("finish_reason") or "stop")


def _count(result: InferenceResult, name: str) -> int:
    value = result.settings.get(name)
    return value if isinstance(value, int) else 0


def _read(result: InferenceResult) -> dict[str, int]:
    tokens = _count(result, "prompt_tokens")
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _broken(result: InferenceResult, how: str) -> Refusal:
    message = f"the model's outputs: {how}"
    return Refusal(DoorCode.INTERNAL, message, request_id=result.request_id)


def _unsuited(result: InferenceResult, why: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, f"{result.model} {why}", request_id=result.request_id)
