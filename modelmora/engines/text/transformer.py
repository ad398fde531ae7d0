"""The engine of `txt2txt` on safetensors: transformers models, batched step by step.

Imported in a child only; torch and transformers are loaded with it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelmora.engines.base import Step, SteppedEngine
from modelmora.engines.files import broken, read_json
from modelmora.engines.loading import SAFE, device_of, reading, tuned, weights
from modelmora.engines.options import option
from modelmora.engines.sentences.sentence import CONFIG, check_safe
from modelmora.engines.text import asking
from modelmora.engines.text.asking import Asked
from modelmora.engines.text.batch import Batch
from modelmora.engines.text.choosing import Row
from modelmora.engines.text.files import SLOTS, context_of, room_for, token_bytes
from modelmora.engines.text.tools import TOOL_CALLS, Speech, turn_form
from modelmora.engines.text.words import Words
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter

_ONLY_GGUF = ("grammar", "json_schema", "loras")


@dataclass(slots=True)
class _Answer:
    """One request: its row, and its text so far."""

    row: Row
    words: Words
    speech: Speech
    parameters: Mapping[str, Parameter]
    request_id: str


class Transformer(SteppedEngine):
    """One causal language model.

    Options: `device` (torch's name; default: the first GPU if there is one, else the CPU),
    `slots` (requests at once), `context_length` (tokens of one request) and `token_pool` (padded
    tokens of all of them).
    """

    slots = SLOTS

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; facts: context_length, slots, device. Raises LoadError."""
        check_safe(path)
        device = device_of(options)
        with reading("tokenizer"):
            self._tokenizer = AutoTokenizer.from_pretrained(str(path), **SAFE)
        model = weights(AutoModelForCausalLM, str(path)).to(device)
        if device == "cpu":
            model = model.float()  # half precision is emulated there
        model = tuned(model, options)
        if getattr(model, "_is_stateful", False):
            raise broken("the model keeps a state that is no cache of tokens, which is not served")
        config = read_json(path / CONFIG)
        told = context_of(config)
        size = sum(each.nbytes for each in model.parameters())
        room = room_for(told, token_bytes(config), size)
        self._pool = option(options, "token_pool", room.pool)
        self._context = min(option(options, "context_length", told), told, self._pool)
        self.slots = option(options, "slots", SLOTS)
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._ends = frozenset(_ends(model, self._tokenizer))
        self._batch = Batch(model)
        self._answers: dict[int, _Answer] = {}
        self._waiting: deque[Row] = deque()
        return {"context_length": self._context, "slots": self.slots, "device": device}

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        if count > 0 and torch.get_num_threads() != count:
            torch.set_num_threads(count)

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        """Tokenise a prompt and let it wait. Raises RequestError."""
        for name in _ONLY_GGUF:
            if name in parameters:
                raise RequestError(Code.UNKNOWN_PARAMETER, f"`{name}` is for GGUF models only")
        asked = asking.asked(
            request,
            parameters,
            template=self._tokenizer.chat_template,
            takes_images=False,
        )
        if asked.tools and asked.tools.required:
            message = "`tool_choice: required` is for GGUF models only"
            raise RequestError(Code.INVALID_INPUT, message)
        how = asking.sampling(parameters, request.request_id)
        ids = self._ids(asked)
        asking.check_length(len(ids), self._context)
        row = Row(key, ids, how)
        words, speech = Words(self._decode, how.stop), Speech(asked.tools)
        shown = asked.shown(parameters)
        self._answers[key] = _Answer(row, words, speech, shown, request.request_id)
        self._waiting.append(row)

    def step(self) -> Sequence[Step]:
        """The next token of each request that runs, and a part of the prompts that join."""
        self._admit()
        steps = []
        gone = []
        for row, token in self._batch.step():
            step, ended = self._advance(self._answers[row.key], token)
            if ended:
                gone.append(row)
                del self._answers[row.key]
            if step is not None:
                steps.append(step)
        self._batch.drop(gone)
        return steps

    def remove(self, key: int) -> None:
        """Forget a request."""
        row = self._answers.pop(key).row
        if row in self._waiting:
            self._waiting.remove(row)
        else:
            self._batch.drop((row,))

    def _admit(self) -> None:
        """Let those join that fit: the cache is as long as its longest row, for each of them."""
        if not self._waiting or self._batch.joining:
            return
        waiting = {*self._waiting}
        running = [each.row for each in self._answers.values() if each.row not in waiting]
        longest = max(map(self._places, running), default=0)
        fitting: list[Row] = []
        for row in self._waiting:
            longest = max(longest, self._places(row))
            rows = len(running) + len(fitting) + 1
            if rows > self.slots or (rows > 1 and rows * longest > self._pool):
                break
            fitting.append(row)
        if fitting:
            for _ in range(self._batch.join(fitting)):
                self._waiting.popleft()

    def _places(self, row: Row) -> int:
        return min(len(row.prompt) + row.how.max_tokens, self._context)

    def _advance(self, answer: _Answer, token: int | None) -> tuple[Step | None, bool]:
        """What a token gives a request, and whether it has ended."""
        row = answer.row
        if token is None:
            message = "the model computed NaN or infinity; its weights may be damaged"
            return Step(row.key, error=RequestError(Code.INFERENCE_FAILED, message)), True
        row.answer.append(token)
        ended = token in self._ends
        said = "" if ended else answer.speech.add(answer.words.add(token))
        full = len(row.answer) >= row.how.max_tokens
        full = full or len(row.prompt) + len(row.answer) >= self._context
        if not (ended or answer.words.stopped or full):
            return (Step(row.key, chunk=said) if said else None), False
        said += answer.speech.add(answer.words.end())
        finish = "stop" if ended or answer.words.stopped else "length"
        return self._end(answer, said, finish), True

    def _end(self, answer: _Answer, fresh: str, finish: str) -> Step:
        row = answer.row
        rest, output, called = answer.speech.end(answer.request_id)
        outputs = [output]
        if row.how.logprobs is not None:
            outputs.append(json.dumps([*self._logprobs(row)]))
        finish = TOOL_CALLS if called else finish
        settings = asking.told(answer.parameters, row.how, finish, len(row.prompt), len(row.answer))
        return Step(row.key, chunk=fresh + rest or None, outputs=outputs, settings=settings)

    def _logprobs(self, row: Row) -> Iterator[Mapping[str, Any]]:
        for token, value, others in row.logprobs:
            top = [(self._decode([each]), p) for each, p in others]
            yield asking.logprob(self._decode([token]), value, top)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _ids(self, asked: Asked) -> list[int]:
        """The tokens of a prompt. Raises RequestError."""
        if asked.turns:
            turns = [turn_form(turn, parsed=True) for turn in asked.turns]
            tools = [*asked.tools.told] if asked.tools else None
            try:
                text = self._tokenizer.apply_chat_template(
                    turns, tools=tools, add_generation_prompt=True, tokenize=False
                )
            except (TemplateError, TypeError, ValueError):
                message = "the model's chat template does not take this conversation"
                raise RequestError(Code.INVALID_INPUT, message) from None
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self._tokenizer(asked.prompt)["input_ids"]
        if not ids:
            raise RequestError(Code.INVALID_INPUT, "the prompt is empty: it has no tokens")
        if max(ids) >= self._vocabulary:
            message = "the prompt has a token that the model has no vector for"
            raise RequestError(Code.INVALID_INPUT, message)
        return [*ids]


def _ends(model: Any, tokenizer: Any) -> Iterator[int]:
    """The tokens that end an answer, as generation_config.json or the tokenizer say."""
    told = model.generation_config.eos_token_id
    for each in told if isinstance(told, list) else [told, tokenizer.eos_token_id]:
        if each is not None:
            yield int(each)
