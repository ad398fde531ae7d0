"""Stepped requests in any order of faults and cancels, on an engine that fails when it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from modelmora.engines.base import Step
from modelmora.messages import InferenceRequest, Parameter
from tests.unit.workers.test_stepping import Hall, Speller, output


class Wild(Speller):
    """Fails by order of the test, whatever it is asked at that moment."""

    def __init__(self, slots: int, memory: int, faults: Mapping[int, Exception]) -> None:
        super().__init__(slots, memory)
        self.faults = faults
        self.asked = 0

    def _fail(self) -> None:
        self.asked += 1
        if fault := self.faults.get(self.asked):
            raise fault

    def step(self) -> Sequence[Step]:
        self._fail()
        return super().step()

    def add(self, key: int, request: InferenceRequest, parameters: Mapping[str, Parameter]) -> None:
        self._fail()
        super().add(key, request, parameters)


@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 4),
    memory=st.integers(1, 5),
    faults=st.dictionaries(
        st.integers(1, 60), st.sampled_from([MemoryError(), ValueError("secret")]), max_size=6
    ),
    sends=st.lists(
        st.tuples(st.text(alphabet="ab€$!", max_size=8), st.integers(0, 5), st.booleans()),
        max_size=12,
    ),
    turn_s=st.sampled_from([0.001, 0.021, 0.3]),
)
def test_whatever_happens_each_ends_once_and_what_was_told_is_its_text(
    slots: int,
    memory: int,
    faults: dict[int, Exception],
    sends: list[tuple[str, int, bool]],
    turn_s: float,
) -> None:
    hall = Hall(Wild(slots, memory, faults), turn_s)
    texts: dict[int, str] = {}
    for text, turns, cancel in sends:
        (number,) = hall.send(text)
        texts[number] = text
        for _ in range(turns):
            hall.turn()
        if cancel:
            hall.desk.cancelled.add(number)
    hall.finish()
    assert hall.desk.ends.keys() == texts.keys() == set(hall.desk.finished)
    assert hall.engine.left == {}
    for number, text in texts.items():
        end, shown = hall.desk.ends[number], hall.desk.text(number)
        assert text.startswith(shown)
        assert shown == text or end != output(text)
        sound = not faults and "$" not in text and not text.endswith("!")
        assert end == output(text) or not sound or number in hall.desk.cancelled
