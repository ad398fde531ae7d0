"""What a pair of outcomes tells: by what they are made of, and by how they ended."""

from __future__ import annotations

import struct
from math import cos, inf, nan, radians, sin
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.comparing import Answer, Kind, agreement, compared
from modelmora.errors import Code
from modelmora.messages import ChatMessage, Content, InferenceResult, ObjectRef, Tensor, ToolCall
from tests.unit.comparing.outcomes import classes, failed, numbers, outcome, scores, vectors
from tests.unit.comparing.test_pictures import drawn


def found(
    baseline: InferenceResult, candidate: InferenceResult
) -> tuple[float | None, dict[str, float]]:
    result = compared(Answer.of(baseline), Answer.of(candidate))
    return result.agreement, dict(result.measures)


def why(baseline: InferenceResult, candidate: InferenceResult) -> str:
    return compared(Answer.of(baseline), Answer.of(candidate)).why


def at(degrees: float) -> tuple[float, float]:
    return cos(radians(degrees)), sin(radians(degrees))


def png(seed: int, side: int = 96) -> bytes:
    from io import BytesIO

    file = BytesIO()
    drawn(seed, side).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ((), Kind.NOTHING),
        (("a text", "another"), Kind.TEXTS),
        ((ChatMessage("assistant", "hello"),), Kind.TEXTS),
        ((vectors((1, 0)),), Kind.VECTORS),
        (classes({"cat": 0.9, "dog": 0.1}), Kind.CLASSES),
        ((scores(0.5, 0.25),), Kind.SCORES),
        ((b"bytes",), Kind.PICTURES),
        ((ObjectRef("s3://b/k", "0" * 64, 9, "image/png", 1),), Kind.PICTURES),
        ((numbers("depth", [[1, 2]]),), Kind.TENSORS),
        ((Tensor("embedding", "BYTES", (1, 1), b"\x01\0\0\0x"),), Kind.TENSORS),
        (("a text", b"bytes"), Kind.OTHERS),
    ],
)
def test_outputs_say_what_they_are(outputs: tuple[Content, ...], kind: Kind) -> None:
    assert Answer.of(outcome(*outputs)).kind is kind
    assert found(outcome(*outputs), outcome(*outputs))[0] == 1


def test_vectors_by_their_cosine() -> None:
    before, after = outcome(vectors(at(0), at(10))), outcome(vectors(at(60), at(10)))
    agreed, measures = found(before, after)
    # The mean of both says how far they agree, the worse one is the measure.
    assert agreed == pytest.approx(0.75)
    assert measures == {"same": 0, "cosine": pytest.approx(0.5)}
    assert found(outcome(vectors(at(0))), outcome(vectors(at(180)))) == (
        0,
        {"same": 0, "cosine": pytest.approx(-1)},
    )


def test_a_vector_that_is_no_direction_agrees_with_nothing_but_itself() -> None:
    assert found(outcome(vectors((0, 0))), outcome(vectors((1, 0))))[0] == 0
    assert found(outcome(vectors((0, 0))), outcome(vectors((0, 0))))[0] == 1


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_what_is_no_number_is_no_agreement(bad: float) -> None:
    good = outcome(vectors((1, 0)))
    assert found(good, outcome(vectors((bad, 0)))) == (0, {"same": 0})
    assert why(good, outcome(vectors((bad, 0)))) == "numbers that are none (NaN or infinite)"
    assert found(outcome(scores(1, 2)), outcome(scores(1, bad)))[0] == 0
    broken = outcome(*classes({"cat": bad, "dog": 0.1}))
    assert found(outcome(*classes({"cat": 0.9, "dog": 0.1})), broken)[0] == 0
    # Where neither has a number there, there is nothing to see.
    assert found(outcome(vectors((bad, 0))), outcome(vectors((bad, 0))))[0] == 1


def test_vectors_of_another_length_are_no_agreement() -> None:
    before, after = outcome(vectors((1, 0, 0))), outcome(vectors((1, 0)))
    assert found(before, after) == (0, {"same": 0})
    assert why(before, after) == "FP32 [n, 2], not FP32 [n, 3]"


def test_texts_by_edits() -> None:
    before, after = outcome("kitten", "same"), outcome("sitting", "same")
    agreed, measures = found(before, after)
    assert agreed == measures["similarity"] == pytest.approx((4 / 7 + 1) / 2)
    assert measures["edits"] == 3
    assert measures["same"] == 0
    # A text too few or too many is all edits.
    assert found(outcome("ab", "cd"), outcome("ab"))[1]["edits"] == 2
    assert found(outcome("ab"), outcome("ab", "cd"))[0] == 0.5


def test_what_a_model_wants_done_is_part_of_what_it_says() -> None:
    def asks(city: str, call_id: str) -> InferenceResult:
        call = ToolCall(call_id, "weather", f'{{"city": "{city}"}}')
        return outcome(ChatMessage("assistant", "", tool_calls=(call,)))

    assert found(asks("Rome", "a"), asks("Rome", "b")) == (
        1,
        {"same": 1, "similarity": 1, "edits": 0},
    )
    assert found(asks("Rome", "a"), asks("Bonn", "a"))[1]["edits"] == 3


def test_classes_by_the_first_and_the_order() -> None:
    before = outcome(*classes({"cat": 0.75, "dog": 0.25}, {"car": 0.5, "bus": 0.25}))
    after = outcome(*classes({"cat": 0.5, "dog": 0.375}, {"bus": 0.5, "car": 0.375}))
    assert found(before, after) == (
        0.5,
        {"same": 0, "first": 0.5, "ranking": 0.5, "score_moved": 0.25},
    )
    other = outcome(*classes({"fish": 0.5, "bird": 0.25}, {"tree": 0.5, "leaf": 0.25}))
    # No score of the baseline's first is told.
    assert found(before, other) == (0, {"same": 0, "first": 0, "ranking": 0})


def test_classes_of_fewer_labels_are_compared_still() -> None:
    before = outcome(*classes({"cat": 0.75, "dog": 0.25}))
    after = outcome(*classes({"cat": 0.75}))
    assert found(before, after)[1] == {"same": 0, "first": 1, "ranking": 0, "score_moved": 0}
    more = outcome(*classes({"cat": 0.75, "dog": 0.25}, {"cat": 0.75, "dog": 0.25}))
    assert why(before, more) == "labels of 2 inputs, not of 1"


def test_scores_by_the_first_and_the_order() -> None:
    before, after = outcome(scores(0.5, 0.75, 0.25)), outcome(scores(0.25, 0.875, 0.5))
    assert found(before, after) == (
        1,
        {"same": 0, "first": 1, "ranking": 0, "score_moved": 0.25},
    )


def test_pictures_by_what_they_look_like() -> None:
    agreed, measures = found(outcome(png(1)), outcome(png(1, 64)))
    assert agreed is not None
    assert agreed > 0.75
    assert measures["same_shape"] == 0
    assert measures["hash_apart"] <= 6
    assert measures["size"] < 1
    assert found(outcome(png(1)), outcome(png(2)))[0] < 0.5  # type: ignore[operator]
    assert why(outcome(png(1)), outcome(png(1), png(2))) == "2 of them, not 1"


def test_bytes_that_are_no_picture_by_their_digest() -> None:
    assert found(outcome(b"abcd"), outcome(b"abcdef")) == (0, {"same": 0, "size": 1.5})
    one, other = (ObjectRef(f"s3://b/{n}", str(n) * 64, 9, "image/png", n) for n in (1, 2))
    assert found(outcome(one), outcome(other)) == (0, {"same": 0, "size": 1})
    # Where it lies and until when is no part of what it says.
    moved = ObjectRef("s3://c/k", one.sha256, 9, "image/png", 5)
    assert found(outcome(one), outcome(moved)) == (1, {"same": 1, "size": 1})


def test_other_tensors_by_that_which_agrees_least() -> None:
    before = outcome(numbers("a", [at(0)]), numbers("b", [[1, 2]]))
    after = outcome(numbers("a", [at(60)]), numbers("b", [[1, 2.5]]))
    agreed, measures = found(before, after)
    assert agreed == measures["cosine"] == pytest.approx(0.5)
    assert measures["moved"] == pytest.approx(sin(radians(60)))
    assert why(before, outcome(numbers("a", [at(0)]))) == "tensors of other names"
    words = [Tensor("w", "BYTES", (2,), b"\x01\0\0\0a\x01\0\0\0" + end) for end in (b"b", b"c")]
    assert found(outcome(words[0]), outcome(words[1])) == (0.5, {"same": 0})


def test_a_tensor_that_contradicts_itself_is_told() -> None:
    liar = outcome(Tensor("embedding", "FP32", (1, 5), b"1234"))
    assert found(outcome(vectors((1, 0))), liar) == (0, {"same": 0})
    assert why(outcome(vectors((1, 0))), liar) == "a tensor contradicts itself"


def test_another_kind_of_answer_is_no_agreement() -> None:
    assert found(outcome("a text"), outcome(vectors((1, 0)))) == (0, {})
    assert why(outcome("a text"), outcome(vectors((1, 0)))) == "vectors, not texts"


@pytest.mark.parametrize(
    ("baseline", "candidate", "agreed", "reason"),
    [
        (outcome("a"), failed(Code.WORKER_CRASH), 0.0, "worker_crash"),
        (outcome("a"), failed(Code.INVALID_INPUT), 0.0, "invalid_input"),
        # No room, no time or no model is no fault of what it would have said.
        (outcome("a"), failed(Code.BUSY), None, "candidate busy"),
        (outcome("a"), failed(Code.EXPIRED), None, "candidate expired"),
        (outcome("a"), failed(Code.MODEL_UNAVAILABLE), None, "candidate model_unavailable"),
        (failed(Code.WORKER_CRASH), outcome("a"), None, "baseline worker_crash"),
        (failed(Code.TOO_LARGE), failed(Code.TOO_LARGE), None, "baseline too_large"),
    ],
)
def test_how_a_pair_ended(
    baseline: InferenceResult, candidate: InferenceResult, agreed: float | None, reason: str
) -> None:
    assert agreement(baseline, candidate) == agreed
    assert why(baseline, candidate) == reason


@given(
    st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=4), st.data()
)
def test_whatever_is_answered_the_measures_are_numbers(
    rows: list[Any], data: st.DataObject
) -> None:
    others = data.draw(
        st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=4)
    )
    agreed, measures = found(outcome(vectors(*rows)), outcome(vectors(*others)))
    assert agreed is not None
    assert 0 <= agreed <= 1
    assert all(abs(each) < inf for each in measures.values())


def test_numbers_of_any_type_are_compared() -> None:
    def of(dtype: str, form: str, *values: Any) -> InferenceResult:
        return outcome(
            Tensor("t", dtype, (len(values),), struct.pack(f"<{len(values)}{form}", *values))
        )

    assert found(of("FP64", "d", 1e308, 1e308), of("FP64", "d", -1e308, 1e308))[0] == 0
    assert found(of("INT64", "q", 2**62, 0), of("INT64", "q", 2**62, 1))[0] == pytest.approx(1)
    assert found(of("BOOL", "?", True, False), of("BOOL", "?", True, False))[0] == 1
    assert found(of("FP16", "e", 1, 0), of("FP32", "f", 1, 0))[0] == 1
