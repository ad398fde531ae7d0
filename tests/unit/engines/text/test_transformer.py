"""The transformers engine answers as `generate` does, whoever joins and leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelmora.engines.base import LoadError
from modelmora.errors import Code
from modelmora.messages import ChatMessage, ToolCall
from tests.tiny_texts import CONTEXT, TEMPLATE, TOOL_TEMPLATE, make_tiny_text
from tests.unit.engines.text.rig import (
    OFFERED,
    Seen,
    add,
    ask,
    copied,
    fault,
    plain,
    request,
    text,
    texts,
)

if TYPE_CHECKING:
    from modelmora.engines.text.transformer import Transformer

PROMPTS = ["the river", "the", "a long one about the " * 3, "x", "0123456789"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_text(tmp_path_factory.mktemp("text") / "m")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Transformer:
    from modelmora.engines.text.transformer import Transformer

    made = Transformer()
    facts = made.load(folder, {"device": "cpu"})
    assert facts == {"context_length": CONTEXT, "slots": 16, "device": "cpu"}
    made.use_threads(1)
    return made


@pytest.fixture(scope="module")
def library(folder: Path) -> Any:
    """What `generate` of transformers says, greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def generate(prompt: str, tokens: int, **more: Any) -> str:
        inputs = tokenizer(prompt, return_tensors="pt")
        answer = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **more)
        start = inputs["input_ids"].shape[1]
        return str(tokenizer.decode(answer[0, start:], skip_special_tokens=True))

    return generate


def test_greedy_answers_are_those_of_generate(engine: Transformer, library: Any) -> None:
    ends = ask(engine, *(plain(prompt, max_tokens=24) for prompt in PROMPTS))
    assert texts(ends) == [library(prompt, 24) for prompt in PROMPTS]
    (end,) = ask(engine, plain("the", max_tokens=24, repeat_penalty=1.3))
    assert texts([end]) == [library("the", 24, repetition_penalty=1.3)]


def test_requests_join_and_leave_at_any_step(engine: Transformer, library: Any) -> None:
    seen = Seen()
    lengths = {key: 10 + 7 * key for key in range(len(PROMPTS))}
    for key, prompt in enumerate(PROMPTS):
        add(engine, key, plain(prompt, max_tokens=lengths[key]))
        seen.step(engine)
        seen.step(engine)
    engine.remove(4)
    seen.until(engine, 0, 1, 2, 3)
    said = {key: end.outputs and end.outputs[0] for key, end in seen.ends.items()}
    assert said == {key: library(PROMPTS[key], lengths[key]) for key in range(4)}
    assert engine.step() == []


def test_a_seed_alone_says_the_same_in_company(engine: Transformer) -> None:
    seeded = request("hi", seed=11, temperature=1.2, top_p=0.9, max_tokens=20)
    alone = text(engine, seeded)
    others = [request("zz " * key, seed=key, temperature=1.5, max_tokens=30) for key in range(1, 6)]
    assert texts(ask(engine, *others, seeded))[-1] == alone
    assert text(engine, request("hi", seed=12, temperature=1.2, max_tokens=20)) != alone


def test_settings_are_those_used(engine: Transformer) -> None:
    (end,) = ask(engine, request("hi", max_tokens=5, seed=3))
    assert end.settings == {
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.95,
        "template": True,
        "seed": 3,
        "finish_reason": "length",
        "prompt_tokens": len("<user>hi<assistant>"),
        "completion_tokens": 5,
    }
    (end,) = ask(engine, request("hi", max_tokens=5))
    again = request("hi", max_tokens=5, seed=end.settings["seed"])
    assert texts(ask(engine, again)) == texts([end])


def test_the_template_makes_the_prompt(engine: Transformer) -> None:
    turns = (ChatMessage("system", "be"), ChatMessage("user", "a"))
    assert "message.role" in TEMPLATE
    as_text = "<system>be<user>a<assistant>"
    assert text(engine, request(*turns, temperature=0)) == text(engine, plain(as_text))


class Scripted:
    """Says a text, four letters to a token, in place of what the tokens mean."""

    text = ""

    def __init__(self, *_: Any) -> None:
        self.rest, self.stopped = self.text, False

    def add(self, _token: int) -> str:
        said, self.rest = self.rest[:4], self.rest[4:]
        self.stopped = not self.rest
        return said

    def end(self) -> str:
        return ""


@pytest.fixture
def caller(engine: Transformer, monkeypatch: pytest.MonkeyPatch) -> Transformer:
    """The engine with a template that shows tools, and an answer that calls one."""
    from modelmora.engines.text import transformer

    said = '<tool_call>{"name": "dim", "arguments": {"a": 1}}</tool_call>'
    monkeypatch.setattr(Scripted, "text", f"Now.\n{said}\n{said}")
    monkeypatch.setattr(transformer, "Words", Scripted)
    monkeypatch.setattr(engine._tokenizer, "chat_template", TOOL_TEMPLATE)
    return engine


def test_calls_of_tools_are_an_assistants_turn(caller: Transformer) -> None:
    (end, one, none) = ask(
        caller,
        request("hi", tools=OFFERED),
        request("hi", tools=OFFERED, parallel_tool_calls=False, logprobs=0),
        request("hi", tools=OFFERED, tool_choice="none"),
    )
    assert end.outputs
    assert one.outputs
    turn, single = end.outputs[0], one.outputs[0]
    assert isinstance(turn, ChatMessage)
    assert isinstance(single, ChatMessage)
    assert (turn.role, turn.content) == ("assistant", "Now.")
    assert [(call.name, call.arguments) for call in turn.tool_calls or ()] == [
        ("dim", '{"a": 1}')
    ] * 2
    assert single.tool_calls == (turn.tool_calls or ())[:1]
    assert len(one.outputs) == 2
    assert end.settings["finish_reason"] == "tool_calls"
    assert end.settings["tools"] == ("dim",)
    assert end.settings["prompt_tokens"] == len("dim<user>hi<assistant>")
    assert texts([none]) == [Scripted.text]
    assert none.settings["finish_reason"] == "stop"


def test_a_call_that_is_cut_is_text(caller: Transformer) -> None:
    (end,) = ask(caller, request("hi", tools=OFFERED, max_tokens=8))
    assert texts([end]) == [Scripted.text[:32]]
    assert end.settings["finish_reason"] == "length"


def test_an_answer_of_a_tool_goes_into_the_prompt(caller: Transformer) -> None:
    turns = (
        ChatMessage("user", "a"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c", "dim", '{"a": 1}'),)),
        ChatMessage("tool", "5", "dim", None, "c"),
    )
    (end,) = ask(caller, request(*turns))
    assert end.settings["prompt_tokens"] == len("<user>a<assistant><tool>5<assistant>")
    broken = ChatMessage("assistant", "", tool_calls=(ToolCall("c", "dim", "{"),))
    assert fault(caller, request(turns[0], broken)).code is Code.INVALID_INPUT


def test_tools_that_cannot_be_used_are_refused(caller: Transformer) -> None:
    for asked, words in (
        (request("a", tools=OFFERED, tool_choice="required"), "GGUF models only"),
        (request("a", tools=OFFERED, template=False), "the whole prompt"),
        (request("a", tools="{"), "no"),
        (request("a", tool_choice="required"), "needs `tools`"),
    ):
        refusal = fault(caller, asked)
        assert refusal.code is Code.INVALID_INPUT
        assert words in refusal.message


def test_a_template_without_tools_takes_none(engine: Transformer) -> None:
    called = ChatMessage("assistant", "", tool_calls=(ToolCall("c", "dim", "{}"),))
    for asked in (request("a", tools=OFFERED), request(called, ChatMessage("tool", "5"))):
        refusal = fault(engine, asked)
        assert refusal.code is Code.INVALID_INPUT
        assert refusal.message == "this model's chat template knows no tools"


def test_each_sampling_parameter_narrows_the_choice(engine: Transformer) -> None:
    greedy = text(engine, plain("the", max_tokens=12))
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
        asked = plain("the", max_tokens=12, **{"temperature": 3.0, "seed": 1, **narrow})
        assert text(engine, asked) == greedy
    often = plain("the", max_tokens=60, presence_penalty=2.0, frequency_penalty=2.0)
    assert len({*text(engine, often)}) > len({*text(engine, plain("the", max_tokens=60))})


def test_logprobs_are_a_second_output(engine: Transformer) -> None:
    (end,) = ask(engine, plain("the", max_tokens=4, logprobs=2))
    assert end.outputs is not None
    entries = json.loads(str(end.outputs[1]))
    assert len(entries) == 4
    assert all(entry["logprob"] == entry["top"][0]["logprob"] for entry in entries)
    assert all(len(entry["top"]) == 2 for entry in entries)


def test_a_stop_string_ends_an_answer(engine: Transformer) -> None:
    whole = text(engine, plain("the river", max_tokens=20))
    (end,) = ask(engine, plain("the river", max_tokens=20, stop=(whole[3:5],)))
    assert texts([end]) == [whole[: whole.index(whole[3:5])]]
    assert end.settings["finish_reason"] == "stop"


def test_a_full_context_ends_an_answer_and_a_fuller_prompt_is_refused(engine: Transformer) -> None:
    (end,) = ask(engine, plain("x" * (CONTEXT - 3), max_tokens=50))
    assert end.settings["completion_tokens"] == 3 or end.settings["finish_reason"] == "stop"
    refusal = fault(engine, plain("x" * CONTEXT))
    assert refusal.code is Code.INVALID_INPUT
    assert f"{CONTEXT} tokens and the model takes {CONTEXT}" in str(refusal)


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request("", template=False),
        request("a", "b"),
        request("a", ChatMessage("user", "b")),
        request("a", b"image"),
        request(ChatMessage("user", "a"), template=False),
        request("a", stop=("",)),
        request("a", stop=("x",) * 17),
    ],
    ids=["nothing", "empty", "two", "both", "image", "raw", "stop", "stops"],
)
def test_what_makes_no_prompt_is_refused(engine: Transformer, asked: Any) -> None:
    assert fault(engine, asked).code is Code.INVALID_INPUT


@pytest.mark.parametrize("name", ["grammar", "json_schema", "loras"])
def test_what_only_llama_cpp_has_is_told(engine: Transformer, name: str) -> None:
    value = ("x",) if name == "loras" else "x"
    assert fault(engine, request("a", **{name: value})).code is Code.UNKNOWN_PARAMETER


def test_a_small_pool_lets_the_others_wait(folder: Path, library: Any) -> None:
    from modelmora.engines.text.transformer import Transformer

    small = Transformer()
    small.load(folder, {"device": "cpu", "token_pool": 40, "slots": 2})
    ends = ask(small, *(plain("the", max_tokens=12) for _ in range(5)))
    assert texts(ends) == [library("the", 12)] * 5


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_repository_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    from modelmora.engines.text.transformer import Transformer

    model = copied(folder, tmp_path / "m")
    values = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps({**values, "auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(LoadError, match="never run"):
        Transformer().load(model, {})


def test_a_template_runs_in_a_sandbox(folder: Path, tmp_path: Path) -> None:
    from modelmora.engines.text.transformer import Transformer

    model = copied(folder, tmp_path / "m")
    evil = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (model / "chat_template.jinja").write_text(evil)
    made = Transformer()
    made.load(model, {"device": "cpu"})
    assert fault(made, request("a")).code is Code.INVALID_INPUT
