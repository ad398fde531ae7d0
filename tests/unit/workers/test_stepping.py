"""A stepped engine's requests join, leave and are answered once, whatever one of them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines.base import Step, SteppedEngine
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter
from modelmora.wire import encode_outputs, encode_request
from modelmora.workers.batches import Batches
from modelmora.workers.child.stepping import SteppedRuns
from modelmora.workers.child.trial import fault_of
from modelmora.workers.chunks import LIFE_S, NOTHING_TOLD, Chunk, Told
from modelmora.workers.protocol import Run, RunItem


class Speller(SteppedEngine):
    """Spells each request's input, a letter each step; `$` and `!` in it fail in their own ways."""

    def __init__(self, slots: int = 4, memory: int = 100) -> None:
        self.slots = slots
        self.memory = memory
        self.left: dict[int, list[str]] = {}
        self.texts: dict[int, str] = {}
        self.steps: list[int] = []
        self.threads: list[int] = []

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def use_threads(self, count: int) -> None:
        self.threads.append(count)

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        assert key not in self.left
        assert len(self.left) < self.slots
        text = str(request.inputs[0])
        if text == "refused":
            raise RequestError(Code.INVALID_INPUT, "not this one")
        if text == "broken":
            raise ValueError("secret")
        self.left[key], self.texts[key] = list(text), text

    def step(self) -> Sequence[Step]:
        assert self.left, "stepped without anything to step"
        self.steps.append(len(self.left))
        if len(self.left) > self.memory:
            raise MemoryError
        if any(letters and letters[0] == "$" for letters in self.left.values()):
            raise ValueError("secret")
        return [each for key in [*self.left] for each in self._next(key)]

    def _next(self, key: int) -> Sequence[Step]:
        if self.left[key]:
            return [Step(key, self.left[key].pop(0))]
        del self.left[key]
        text = self.texts[key]
        if text.endswith("!"):
            return [Step(key, error=RequestError(Code.INFERENCE_FAILED, "no"))]
        odd: Content = object() if text == "odd" else text  # type: ignore[assignment]
        return [Step(key, outputs=(odd,), settings={"letters": len(text)}), Step(key, "late")]

    def remove(self, key: int) -> None:
        del self.left[key]


class Desk:
    """What the loop says, group by group."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.steps: list[Batches] = []
        self.ends: dict[int, bytes | Code] = {}
        self.settings: dict[int, Mapping[str, Parameter] | None] = {}
        self.chunks: dict[int, list[Chunk]] = {}
        self.cancelled: set[int] = set()

    def started(self, group: int) -> None:
        assert group not in self.begun, "started twice"
        assert group not in self.ends
        self.begun.append(group)

    def tell(self, group: int, chunk: Chunk) -> None:
        assert group not in self.ends
        self.chunks.setdefault(group, []).append(chunk)

    def answer(
        self,
        group: int,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None = None,
    ) -> None:
        assert index == 0
        assert group not in self.ends, "answered twice"
        assert (outputs is None) != (error is None)
        assert error is None or "secret" not in error.message
        self.ends[group] = error.code if error else outputs or b""
        self.settings[group] = settings

    def done(self, group: int, ms: float, batches: Batches) -> None:
        assert group in self.ends
        self.steps.append(batches)
        self.finished.append(group)

    def is_cancelled(self, group: int, index: int) -> bool:
        return group in self.cancelled

    def text(self, group: int) -> str:
        """What a reader shows who follows the rule: 0 begins anew, the next number continues."""
        shown, following = "", 0
        for chunk in self.chunks.get(group, []):
            if not chunk.tells:
                continue
            assert chunk.sequence in (0, following)
            shown = chunk.text if chunk.sequence == 0 else shown + chunk.text
            following = chunk.sequence + 1
        return shown


class Hall:
    """A loop, its engine and its desk; the clock moves with each turn."""

    def __init__(self, engine: Speller, turn_s: float = 0.021) -> None:
        self.engine, self.desk, self.now, self.turn_s = engine, Desk(), 0.0, turn_s
        self.runs = SteppedRuns(engine, self.desk, lambda: self.now)
        self.number = 0

    def send(self, *texts: str, progress: bool = True, told: Told = NOTHING_TOLD) -> list[int]:
        numbers = []
        for text in texts:
            self.number += 1
            request = InferenceRequest(f"r{self.number}", "m", (text,), progress=progress)
            item = RunItem(request.request_id, told=told)
            self.runs.take(Run(self.number, 1, {}, (item,), (encode_request(request),)))
            numbers.append(self.number)
        return numbers

    def turn(self) -> None:
        self.runs.turn()
        self.now += self.turn_s

    def finish(self) -> None:
        for _ in range(2000):
            if not self.runs.busy:
                return
            self.turn()
        pytest.fail("it never ends")


def output(text: str) -> bytes:
    return encode_outputs((text,))


def test_requests_join_and_leave_between_steps() -> None:
    hall = Hall(Speller(slots=2))
    long, short, third = hall.send("abcdef", "xy", "third")
    hall.finish()
    assert hall.desk.ends == {
        long: output("abcdef"),
        short: output("xy"),
        third: output("third"),
    }
    assert hall.desk.settings[long] == {"letters": 6}
    assert hall.desk.begun == [long, short, third]
    assert max(hall.engine.steps) == 2
    assert hall.engine.steps[:6] == [2] * 6, "the third joined when the second had left"


def test_how_many_were_in_each_step_is_told_once() -> None:
    hall = Hall(Speller(slots=2))
    hall.send("ab", "ab", "a", "$")
    hall.finish()
    first, *_ = hall.desk.steps
    assert (first.counts[:3], first.rows) == ([0, 3, 0], 6)
    worked = [each for each in hall.engine.steps if each]
    told = [sum(each.counts) for each in hall.desk.steps]
    assert 0 < sum(told) < len(worked), "steps that failed were none"


def test_chunks_are_the_output_in_order_and_only_for_those_who_asked() -> None:
    hall = Hall(Speller(), turn_s=0.005)
    asked = hall.send("abcdefghijklmnopqrstuvwxyz", "ü€🙂" * 20)
    (quiet,) = hall.send("quiet", progress=False)
    hall.finish()
    assert [hall.desk.text(each) for each in asked] == ["abcdefghijklmnopqrstuvwxyz", "ü€🙂" * 20]
    assert quiet not in hall.desk.chunks
    told = hall.desk.chunks[asked[0]]
    assert len(told) < 9, "those of 20 ms are told together"
    assert told[0].text == "a", "the first is not held back"


def test_a_cancelled_request_frees_its_slot_wherever_it_is() -> None:
    hall = Hall(Speller(slots=1))
    first, second, third = hall.send("a" * 100, "b" * 100, "c")
    hall.turn()
    hall.desk.cancelled |= {first, second}
    hall.finish()
    assert hall.desk.ends == {
        first: Code.CANCELLED,
        second: Code.CANCELLED,
        third: output("c"),
    }
    assert hall.desk.begun == [first, third]


def test_each_fails_by_itself() -> None:
    hall = Hall(Speller())
    refused, broken, failing, odd, good = hall.send("refused", "broken", "no!", "odd", "good")
    hall.runs.take(Run(99, 1, {}, (RunItem("bytes"),), (b"",)))
    hall.finish()
    assert hall.desk.ends == {
        refused: Code.INVALID_INPUT,
        broken: Code.INFERENCE_FAILED,
        failing: Code.INFERENCE_FAILED,
        odd: Code.INFERENCE_FAILED,
        good: output("good"),
        99: Code.EMPTY_VALUE,
    }


def test_text_that_is_no_unicode_fails_its_request_alone() -> None:
    hall = Hall(Speller())
    lone, good = hall.send("placeholder", "good")
    hall.turn()
    hall.engine.left[lone] = ["\ud800"]
    hall.finish()
    assert hall.desk.ends == {lone: Code.INFERENCE_FAILED, good: output("good")}


@pytest.mark.parametrize("place", range(7))
def test_who_fails_steps_is_found_and_the_others_are_whole(place: int) -> None:
    hall = Hall(Speller(slots=4))
    texts = [f"company{i}" for i in range(7)]
    texts[place] = "poi$on"
    numbers = hall.send(*texts)
    hall.finish()
    for number, text in zip(numbers, texts, strict=True):
        poisoned = number == numbers[place]
        assert hall.desk.ends[number] == (Code.INFERENCE_FAILED if poisoned else output(text))
        if not poisoned:
            assert hall.desk.text(number) == text, "told once, though computed twice"
    assert hall.engine.left == {}


def test_an_engine_whose_steps_all_fail_fails_each() -> None:
    hall = Hall(Speller())
    numbers = hall.send(*["$"] * 9)
    hall.finish()
    assert hall.desk.ends == dict.fromkeys(numbers, Code.INFERENCE_FAILED)


@pytest.mark.row("F3")
def test_out_of_memory_leaves_fewer_slots_and_fails_nobody() -> None:
    hall = Hall(Speller(slots=4, memory=3))
    texts = ["one", "two", "three", "four", "five"]
    numbers = hall.send(*texts)
    hall.finish()
    assert [hall.desk.ends[n] for n in numbers] == [output(text) for text in texts]
    assert [hall.desk.text(n) for n in numbers] == texts
    assert hall.engine.steps[:2] == [4, 2]
    hall.send("six", "seven", "eight")
    hall.finish()
    assert max(hall.engine.steps[1:]) == 2, "what was too many is remembered"


def test_out_of_memory_alone_is_the_requests_own() -> None:
    hall = Hall(Speller(memory=0))
    numbers = hall.send("a", "b")
    hall.finish()
    assert hall.desk.ends == dict.fromkeys(numbers, Code.OUT_OF_MEMORY)
    hall.engine.memory = 100
    hall.engine.steps.clear()
    hall.send("c", "d", "e", "f")
    hall.finish()
    assert hall.engine.steps[0] == 4, "the others do not pay for it"


@pytest.mark.parametrize("text", ["abcdef", "abc", "ab", "xyzdef", "abcd"])
def test_what_was_told_before_a_crash_is_not_told_again(text: str) -> None:
    told = NOTHING_TOLD
    for i, letter in enumerate("abcd"):
        told = told.and_then(Chunk(0, i, letter))
    hall = Hall(Speller())
    (number,) = hall.send(text, told=told)
    hall.desk.chunks[number] = [Chunk(0, i, letter) for i, letter in enumerate("abcd")]
    hall.finish()
    assert hall.desk.text(number) == text
    new = hall.desk.chunks[number][4:]
    same = text.startswith("abcd")
    assert [chunk.sequence for chunk in new][:1] == ([] if text == "abcd" else [4 if same else 0])


def test_a_child_that_tells_nothing_says_that_it_lives() -> None:
    hall = Hall(Speller(), turn_s=LIFE_S / 4)
    (number,) = hall.send("a" * 20, progress=False)
    hall.finish()
    signs = hall.desk.chunks[number]
    assert 3 <= len(signs) <= 6
    assert not any(sign.tells for sign in signs)


def test_a_group_of_several_is_done_when_all_of_it_has_ended() -> None:
    class Several(Desk):
        def __init__(self) -> None:
            super().__init__()
            self.answers: dict[int, bytes | None] = {}

        def answer(self, group: int, index: int, outputs: bytes | None, *_: object) -> None:
            assert index not in self.answers
            self.answers[index] = outputs

        def done(self, group: int, ms: float, batches: Batches) -> None:
            self.finished.append(len(self.answers))

        def is_cancelled(self, group: int, index: int) -> bool:
            return index == 2

    desk, texts = Several(), ("abc", "d", "gone", "ef", "")
    runs = SteppedRuns(Speller(slots=2), desk)
    requests = [InferenceRequest(text, "m", (text,), progress=True) for text in texts[:4]]
    values = (*map(encode_request, requests), b"")
    runs.take(Run(7, 1, {}, tuple(RunItem(text) for text in texts), values))
    while runs.busy:
        runs.turn()
    outputs = {0: output("abc"), 1: output("d"), 2: None, 3: output("ef"), 4: None}
    assert (desk.answers, desk.finished, desk.begun) == (outputs, [5], [7])
    assert {chunk.index for chunk in desk.chunks[7]} == {0, 1, 3}


def test_a_trial_of_a_stepped_engine() -> None:
    def value(text: str) -> bytes:
        return encode_request(InferenceRequest("r", "m", (text,)))

    assert fault_of(Speller(), value("good")) is None
    fault = fault_of(Speller(), value("$"))
    assert fault is not None
    assert fault.code is Code.INFERENCE_FAILED
