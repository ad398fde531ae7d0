"""A group is answered once per request, whatever an engine does; with an engine made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines.base import Engine, OnStep, Outputs, Plan, Row, Withdrawn
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter
from modelmora.wire import encode_outputs, encode_request
from modelmora.workers.child.execution import GroupRun, SafeSize
from modelmora.workers.child.trial import fault_of
from modelmora.workers.chunks import Chunk
from modelmora.workers.protocol import Run, RunItem


class Scripted(Engine):
    """Cuts every input to a row, `size` rows to a batch, and calls `act` before it echoes."""

    def __init__(self, size: int, act: Callable[[Sequence[str]], None]) -> None:
        self.size = size
        self.act = act
        self.batches: list[list[str]] = []

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def use_threads(self, count: int) -> None:
        return None

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        if any("unplannable" in map(str, request.inputs) for _, request in requests):
            raise ValueError("secret")
        rows = [
            Row(index, part, value, len(str(value)))
            for index, request in requests
            for part, value in enumerate(request.inputs)
        ]
        return Plan([rows[i : i + self.size] for i in range(0, len(rows), self.size)])

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        texts = [row.data for row in rows]
        self.batches.append(texts)
        self.act(texts)
        return texts

    def finish(
        self, request: InferenceRequest, parts: Sequence[Any]
    ) -> Sequence[Content] | Outputs:
        return tuple(parts)


class Outcomes:
    """The control and the answers of one group."""

    def __init__(self, cancel_at: int = -1, cancel: int = -1) -> None:
        self.seen: dict[int, bytes | Code] = {}
        self.messages: dict[int, str] = {}
        self.settings: dict[int, Mapping[str, Parameter] | None] = {}
        self.polls = 0
        self.chunks: list[Chunk] = []
        self.lessons: list[Mapping[str, int | None]] = []
        self.cancel_at, self.cancel = cancel_at, cancel

    def poll(self) -> None:
        self.polls += 1

    def is_cancelled(self, index: int) -> bool:
        return index == self.cancel and self.polls > self.cancel_at

    def batch_done(self) -> None:
        return None

    def tell(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)

    def learned(self, news: Mapping[str, int | None]) -> None:
        self.lessons.append(news)

    def answer(
        self,
        index: int,
        outputs: bytes | None,
        error: RequestError | None,
        ms: float,
        settings: Mapping[str, Parameter] | None,
    ) -> None:
        assert index not in self.seen, "answered twice"
        assert (outputs is None) != (error is None)
        self.seen[index] = error.code if error else outputs or b""
        self.settings[index] = settings
        self.messages[index] = error.message if error else ""


def group(requests: Sequence[Sequence[str] | bytes]) -> Run:
    values = [
        value
        if isinstance(value, bytes)
        else encode_request(
            InferenceRequest(
                request_id=f"r{i}",
                model="m",
                task=None,
                parameters={},
                timeout_ms=None,
                progress=False,
                inputs=tuple(value),
            )
        )
        for i, value in enumerate(requests)
    ]
    return Run(1, 1, {}, tuple(RunItem(f"r{i}") for i in range(len(values))), tuple(values))


def execute(
    engine: Engine,
    requests: Sequence[Sequence[str] | bytes],
    outcomes: Outcomes | None = None,
    safe: SafeSize | None = None,
) -> Outcomes:
    outcomes = outcomes or Outcomes()
    GroupRun(engine, group(requests), safe or SafeSize(), outcomes, outcomes.answer).execute()
    assert len(outcomes.seen) == len(requests), "every request is answered"
    return outcomes


def nothing(texts: Sequence[str]) -> None:
    return None


def test_inputs_of_one_request_meet_again_in_their_order() -> None:
    requests = [["a", "b", "c"], ["d"], ["e", "f"]]
    outcomes = execute(Scripted(2, nothing), requests)
    assert outcomes.seen == {i: encode_outputs(tuple(r)) for i, r in enumerate(requests)}


def test_a_request_without_inputs_and_without_refusal_is_answered() -> None:
    assert execute(Scripted(2, nothing), [[], ["a"]]).seen[0] == encode_outputs(())


def test_an_engine_tells_the_settings_that_it_chose() -> None:
    class Seeded(Scripted):
        def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Outputs:
            return Outputs(tuple(parts), {"seed": 7})

    outcomes = execute(Seeded(2, nothing), [["a"]])
    assert (outcomes.seen[0], outcomes.settings[0]) == (encode_outputs(("a",)), {"seed": 7})


def test_the_tokens_that_were_read_are_told() -> None:
    class Counting(Scripted):
        def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
            for row in rows:
                row.tokens = row.cost
            return super().run(rows, parameters)

    outcomes = execute(Counting(3, nothing), [["a", "bb"], ["ccc", "d", "e"], []])
    assert outcomes.settings == {0: {"prompt_tokens": 3}, 1: {"prompt_tokens": 5}, 2: {}}


def test_batches_are_counted_as_they_ran_with_padding_where_the_engine_pads() -> None:
    class Padding(Scripted):
        pads = True

    def refuse(texts: Sequence[str]) -> None:
        if len(texts) > 2:
            raise MemoryError

    found = []
    for kind in (Scripted, Padding):
        outcomes = Outcomes()
        requests = group([["a", "bbb", "cc", "d"]])
        run = GroupRun(kind(4, refuse), requests, SafeSize(), outcomes, outcomes.answer)
        run.execute()
        found.append(run.batches)
    plain, padded = found
    assert plain.counts == padded.counts
    assert (plain.counts[:3], plain.rows) == ([0, 2, 0], 4)
    assert (plain.cost, plain.padded) == (0, 0)
    assert (padded.cost, padded.padded) == (7, 2 * 3 + 2 * 2)


def test_an_undecodable_request_fails_alone_with_its_code() -> None:
    good = group([["a"]]).values[0]
    outcomes = execute(Scripted(4, nothing), [["x"], b"", good[:-1], good + b"!", good])
    assert [outcomes.seen[i] for i in (1, 2, 3)] == [
        Code.EMPTY_VALUE,
        Code.UNDECODABLE,
        Code.TRAILING_BYTES,
    ]
    assert outcomes.seen[0] == encode_outputs(("x",))
    assert outcomes.seen[4] == encode_outputs(("a",))


def test_one_bad_request_fails_alone_and_its_content_stays_out_of_the_message() -> None:
    def act(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise KeyError("the secret words")

    outcomes = execute(Scripted(8, act), [["a"], ["bad", "b"], ["c"], ["unplannable"]])
    assert outcomes.seen[1] is outcomes.seen[3] is Code.INFERENCE_FAILED
    assert outcomes.seen[0] == encode_outputs(("a",))
    assert outcomes.seen[2] == encode_outputs(("c",))
    assert "KeyError at test_execution.py" in outcomes.messages[1]
    assert "secret" not in "".join(outcomes.messages.values())


def test_an_engine_may_refuse_with_a_code_of_its_own() -> None:
    def act(texts: Sequence[str]) -> None:
        if "long" in texts:
            raise RequestError(Code.INVALID_INPUT, "too long")

    outcomes = execute(Scripted(8, act), [["a"], ["long"]])
    assert outcomes.seen == {0: encode_outputs(("a",)), 1: Code.INVALID_INPUT}


NO_MEMORY = (
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: no"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


@pytest.mark.row("F3")
@pytest.mark.parametrize("fault", NO_MEMORY)
def test_out_of_memory_halves_the_batch_and_remembers(fault: Exception) -> None:
    def act(texts: Sequence[str]) -> None:
        if len(texts) > 3:
            raise fault

    engine, safe = Scripted(8, act), SafeSize()
    requests = [["x"]] * 8
    assert set(execute(engine, requests, safe=safe).seen.values()) == {encode_outputs(("x",))}
    assert safe.limit is not None
    engine.batches.clear()
    execute(engine, requests, safe=safe)
    assert [len(batch) for batch in engine.batches] == [2, 2, 2, 2]


def test_the_node_knows_of_a_larger_batch_before_it_runs() -> None:
    outcomes, known = Outcomes(), []

    def act(texts: Sequence[str]) -> None:
        known.append((len(texts), outcomes.lessons[-1]["cost"], outcomes.lessons[-1]["safe_cost"]))
        if len(texts) > 5:
            raise MemoryError

    execute(Scripted(4, act), [["x"]] * 7, outcomes, safe := SafeSize())
    assert known == [(4, 4, None), (3, 4, None)]
    outcomes.seen.clear()
    execute(Scripted(9, act), [["x"]] * 9, outcomes, safe)
    assert known[2:] == [(9, 16, None), (4, 4, 4), (2, 4, 4), (3, 4, 4)]
    assert len(outcomes.lessons) == 3, "only what is news is told"
    outcomes.seen.clear()
    execute(Scripted(1, act), [["x" * 100]], outcomes, safe)
    assert outcomes.lessons[-1] == {"cost": 128, "safe_cost": 4}, "one alone is tried still"


def test_what_torch_keeps_of_a_gpu_goes_back_before_a_smaller_batch_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    did: list[int] = []

    def act(texts: Sequence[str]) -> None:
        did.append(len(texts))
        if len(texts) > 1:
            raise MemoryError

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: did.append(0))
    execute(Scripted(2, act), [["x"]] * 2)
    assert did == [2, 0, 1, 1]


@pytest.mark.row("F3")
def test_out_of_memory_alone_is_the_requests_own_error() -> None:
    def act(texts: Sequence[str]) -> None:
        if "huge" in texts:
            raise MemoryError

    outcomes = execute(Scripted(4, act), [["a"], ["huge"], ["b"]])
    assert outcomes.seen[1] is Code.OUT_OF_MEMORY
    assert outcomes.seen[2] == encode_outputs(("b",))


def test_a_cancel_is_noticed_between_micro_batches() -> None:
    engine = Scripted(1, nothing)
    outcomes = execute(engine, [["a"], ["b"], ["c"]], Outcomes(cancel_at=1, cancel=2))
    assert outcomes.seen[2] is Code.CANCELLED
    assert engine.batches == [["a"], ["b"]]
    late = execute(Scripted(1, nothing), [["a"], ["b"]], Outcomes(cancel_at=1, cancel=0))
    assert late.seen[0] == encode_outputs(("a",)), "computed before the cancel came"


def test_an_engine_that_loses_rows_is_caught() -> None:
    class Forgetful(Scripted):
        def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
            return []

    assert set(execute(Forgetful(4, nothing), [["a"], ["b"]]).seen.values()) == {
        Code.INFERENCE_FAILED
    }


class Steps(Scripted):
    """Computes in three steps, and says so."""

    on_step: OnStep

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        for done in range(1, 4):
            self.on_step(rows, done, 3)
        return super().run(rows, parameters)


def asking(text: str) -> bytes:
    return encode_request(InferenceRequest("r", "m", (text,), progress=True))


def test_a_batch_that_computes_in_steps_tells_whoever_asked() -> None:
    outcomes = execute(Steps(2, nothing), [asking("a"), ["b"]])
    assert outcomes.seen == {0: encode_outputs(("a",)), 1: encode_outputs(("b",))}
    assert outcomes.chunks[0] == Chunk(0, 0, "", 1, 3)
    last = outcomes.chunks[-1]
    assert (last.index, last.step, last.sequence) == (0, 3, len(outcomes.chunks) - 1)


def test_a_batch_that_nobody_waits_for_stops_between_its_steps() -> None:
    engine = Steps(2, nothing)
    one = execute(engine, [["a"], ["b"]], Outcomes(cancel_at=2, cancel=1))
    assert one.seen == {0: encode_outputs(("a",)), 1: Code.CANCELLED}
    engine.batches.clear()
    alone = execute(engine, [["a"]], Outcomes(cancel_at=2, cancel=0))
    assert alone.seen == {0: Code.CANCELLED}
    assert engine.batches == [], "it was given up"


def test_an_engine_that_withdraws_by_itself_fails_the_request() -> None:
    def act(texts: Sequence[str]) -> None:
        raise Withdrawn

    assert execute(Steps(2, act), [["a"]]).seen == {0: Code.INFERENCE_FAILED}


def test_a_trial_says_why_it_failed() -> None:
    def act(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise ValueError("secret")

    assert fault_of(Steps(2, act), asking("good")) is None
    fault = fault_of(Steps(2, act), asking("bad"))
    assert fault is not None
    assert fault.code is Code.INFERENCE_FAILED
    assert "secret" not in fault.message
    undecodable = fault_of(Steps(2, act), b"")
    assert undecodable is not None
    assert undecodable.code is Code.EMPTY_VALUE
