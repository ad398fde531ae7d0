"""The pure parts of the demo, and that a failed start leaves nothing behind."""

from __future__ import annotations

import math
import os
import signal
import struct
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest

from modelmora.cli.demo import demo, secondact, showcase
from modelmora.cli.demo.demo import (
    SENTENCES,
    Report,
    closing_lines,
    cosine,
    picture_lines,
    play,
    rank,
    search_lines,
    vector_of,
)
from modelmora.cli.demo.secondact import Written
from modelmora.cli.demo.showcase import Asker, Showcase, ending_as_interrupt, environment
from modelmora.engines.images.pipeline import read_files
from modelmora.errors import Code, ModelMoraError
from modelmora.host.runfile import RunInfo
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import (
    Content,
    ErrorInfo,
    InferenceResult,
    ProgressEvent,
    ProgressStage,
    Source,
    Status,
    Tensor,
)
from modelmora.settings import Settings
from modelmora.wire import encode_progress, encode_result
from modelmora.wire.tensors import from_nested
from tests.shapes import LABELS
from tests.unit.engines.engine_rig import answers, loaded, numbers, words

SOURCE = Source("t", 0, 0)
REPORT = Report(
    model="all-minilm-l6-v2",
    question="I cannot log in any more, what should I do?",
    matches=tuple(rank([1.0, 0.0], SENTENCES, [[float(i), 1.0] for i in range(len(SENTENCES))])),
    topics={"requests.normal": 34, "results": 34, "dead-letters": 1},
    dead_letter="undecodable",
    ready_ms=8_000,
    cold_ms=400,
    cold_load_ms=180,
    batch_ms=120,
    warm_p50_ms=9.5,
)


def test_cosine() -> None:
    assert cosine([1, 0], [2, 0]) == 1
    assert cosine([1, 0], [0, 3]) == 0
    assert cosine([1, 1], [-1, -1]) == pytest.approx(-1)
    assert cosine([0, 0], [1, 1]) == 0
    assert cosine([1, 0], [1, 1]) == pytest.approx(1 / math.sqrt(2))


def test_the_most_similar_sentence_comes_first() -> None:
    matches = rank([1, 0], ["far", "near"], [[0, 1], [1, 0.1]])
    assert [match.sentence for match in matches] == ["near", "far"]


def test_a_vector_is_read_from_a_tensor() -> None:
    tensor = Tensor("embedding", "FP32", (1, 2), struct.pack("<2f", 0.5, -1))
    result = InferenceResult("i", Status.COMPLETED, "m", "1", SOURCE, outputs=(tensor,))
    assert vector_of(result) == [0.5, -1]
    failed = InferenceResult(
        "i", Status.FAILED, "m", "1", SOURCE, error=ErrorInfo(Code.WORKER_CRASH, "it died")
    )
    with pytest.raises(ModelMoraError, match="FAILED: it died"):
        vector_of(failed)
    text = InferenceResult("i", Status.COMPLETED, "m", "1", SOURCE, outputs=("text",))
    with pytest.raises(ModelMoraError, match="FP32"):
        vector_of(text)


def test_the_report_fits_80_columns() -> None:
    text = Written("smollm2", "What?", "That.", 20, 123_456.7, 98_765.4, 123_456.7)
    found = list(search_lines(REPORT))
    lines = list(closing_lines(replace(REPORT, text=text)))
    assert all(len(line) <= 80 for line in [*found, *lines])
    assert found[3].endswith(SENTENCES[-1])
    assert any("requests.normal" in line and " 34 " in line for line in lines)
    assert any("told in 20 parts" in line for line in lines)
    assert not any("text, " in line for line in closing_lines(REPORT))


class Coming:
    """A Reader that is there already: what it follows comes in this order."""

    def __init__(self, *records: Record | None) -> None:
        self._records = records
        self.followed: list[str] = []

    def __enter__(self) -> Coming:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def places(self, *topics: str) -> list[tuple[str, int]]:
        self.followed += topics
        return [(topic, 0) for topic in topics]

    def ends(self, places: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(places, 0)

    def follow(self, _starts: object) -> Iterator[Record | None]:
        yield None
        yield from self._records


SETTINGS = Settings(bootstrap_servers="127.0.0.1:9")


@pytest.fixture(autouse=True)
def sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showcase, "Producer", lambda _config: None)


def record(topic: str, value: bytes) -> Record:
    return Record(topic, 0, 0, 0, b"i", value, ())


RESULT = InferenceResult("i", Status.COMPLETED, "m", "1", SOURCE, outputs=("Hello",))


def chunk(number: int, text: bytes) -> Record:
    event = ProgressEvent("i", ProgressStage.CHUNK, "m", chunk=text, sequence=number)
    return record("modelmora.progress", encode_progress(event))


def test_what_was_told_before_an_answer_is_heard_before_it_is_returned() -> None:
    answer = record("modelmora.results", encode_result(RESULT))
    told: list[Any] = []
    reader = Coming(chunk(0, b"Hel"), answer, chunk(1, b"lo"), None, chunk(2, b"later"))
    asker = Asker(SETTINGS, cast("Reader", reader), told.append)
    assert asker.answers(["i"]) == {"i": RESULT}
    assert [event.chunk for event in told] == [b"Hel", b"lo"]

    reader = Coming(answer)
    assert Asker(SETTINGS, cast("Reader", reader)).answers(["i"]) == {"i": RESULT}
    assert reader.followed == ["modelmora.results"]


def acting(monkeypatch: pytest.MonkeyPatch, result: InferenceResult) -> None:
    """Let the second act's request be `i`, unsent, and end like this."""
    answer = record("modelmora.results", encode_result(result))
    others = record(
        "modelmora.progress",
        encode_progress(ProgressEvent("other", ProgressStage.CHUNK, "m", chunk=b"not mine")),
    )
    coming = Coming(chunk(0, b"Hel"), others, chunk(1, b"lo"), answer, None)
    monkeypatch.setattr(secondact, "Reader", lambda _settings: coming)
    monkeypatch.setattr(secondact, "new_request_id", lambda: "i")
    monkeypatch.setattr(Asker, "send", lambda *_: None)


def judging(monkeypatch: pytest.MonkeyPatch, result: InferenceResult) -> None:
    """Let the request for pictures be `i`, unsent, and end like this."""
    acting(monkeypatch, result)
    coming = Coming(record("modelmora.results", encode_result(result)))
    monkeypatch.setattr(secondact, "Reader", lambda _settings: coming)


def test_the_text_is_shown_in_parts_and_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    acting(monkeypatch, RESULT)
    shown: list[str] = []
    written = secondact.write(SETTINGS, "Say hello", shown.append)
    assert shown == ["Hel", "lo", "\n"]
    assert (written.text, written.chunks, written.prompt) == ("Hello", 2, "Say hello")


def test_a_text_that_failed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replace(
        RESULT, status=Status.FAILED, outputs=(), error=ErrorInfo(Code.WORKER_CRASH, "it died")
    )
    acting(monkeypatch, failed)
    with pytest.raises(ModelMoraError, match="smollm2 ended FAILED: it died"):
        secondact.write(SETTINGS, "Say hello", len)


def test_the_classifier_knows_what_is_drawn() -> None:
    """Weights and pictures are those of the demo, and the engine is the one that serves them."""
    folder = Path(secondact.__file__).with_name(secondact.JUDGE)
    pictures = [secondact.picture(*drawn.split()) for drawn in secondact.DRAWN]
    engine = loaded(folder, "classify")
    (answer,) = answers(engine, "classify", pictures, top_k=1)
    assert not isinstance(answer, Exception)
    assert [best for [best] in words(answer[1], "labels")] == [*secondact.DRAWN]
    assert numbers(answer[0], "scores").min() > 0.9


def test_the_painter_draws_what_is_asked() -> None:
    """Its weights are those of the demo, and so are the engine and the classifier that judges."""
    folder = Path(secondact.__file__).parent
    painter = loaded(folder / secondact.PAINTER, "txt2img")
    first = read_files(folder / secondact.PAINTER).first
    assert not isinstance(answers(painter, "txt2img", ["Hello"], **first)[0], Exception), first
    (drawn,) = answers(painter, "txt2img", LABELS, seed=1, **secondact.STROKES)
    assert not isinstance(drawn, Exception)
    pictures = [each for each in drawn if isinstance(each, bytes)]
    (answer,) = answers(loaded(folder / secondact.JUDGE, "classify"), "classify", pictures, top_k=1)
    assert not isinstance(answer, Exception)
    assert [best for [best] in words(answer[1], "labels")] == [*LABELS]


def test_a_painted_picture_is_kept_and_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    png = secondact.picture("blue", "circle")
    saying = (
        Tensor("scores", "FP32", (1, 1), struct.pack("<f", 0.98)),
        from_nested("labels", "BYTES", (1, 1), ["blue circle"]),
    )
    asked: dict[str, tuple[Content, ...]] = {secondact.PAINTER: (png,), secondact.JUDGE: saying}
    monkeypatch.setattr(
        secondact, "_asked", lambda _settings, wish: replace(RESULT, outputs=asked[wish.model])
    )
    monkeypatch.setattr(secondact, "cache_folder", lambda: tmp_path)
    painted = secondact.paint(SETTINGS)
    assert Path(painted.file).read_bytes() == png
    demo.show(painted)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)
    assert lines[-1] == "which shapes says is a blue circle (98%)."
    asked[secondact.PAINTER] = ("a text",)
    with pytest.raises(ModelMoraError, match="painter answered no picture"):
        secondact.paint(SETTINGS)
    asked[secondact.PAINTER] = (png,)
    monkeypatch.setattr(secondact, "cache_folder", lambda: tmp_path / "gone")
    with pytest.raises(ModelMoraError, match="cannot be written: No such file"):
        secondact.paint(SETTINGS)


def test_what_is_seen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = (
        Tensor("scores", "FP32", (3, 1), struct.pack("<3f", 0.99, 0.5, 0.97)),
        from_nested("labels", "BYTES", (3, 1), ["green circle", "red square", "blue square"]),
    )
    judging(monkeypatch, replace(RESULT, outputs=outputs))
    seen = secondact.judge(SETTINGS, secondact.DRAWN, (b"", b"", b""))
    assert (seen.drawn, seen.labels[2]) == (secondact.DRAWN, "blue square")
    lines = [*picture_lines(seen), *closing_lines(replace(REPORT, seen=seen))]
    assert all(len(line) <= 80 for line in lines)
    assert "  blue triangle    blue square (97%)" in lines, "as it is, right or wrong"
    judging(monkeypatch, replace(RESULT, status=Status.REFUSED, outputs=()))
    with pytest.raises(ModelMoraError, match="shapes ended REFUSED"):
        secondact.judge(SETTINGS, (), ())


def test_the_text_is_left_out_with_a_line_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(secondact, "find_spec", lambda name: None if "xllama" in name else name)
    assert secondact.missing() == ("xllamacpp",)
    monkeypatch.setattr(demo, "run", lambda *_: REPORT)
    monkeypatch.setattr(demo, "Reader", lambda _settings: Coming())
    monkeypatch.setattr(demo, "counts", lambda *_: {"results": 1})
    where = RunInfo("127.0.0.1:9", None, None, None, 1)
    monkeypatch.setattr(secondact, "judge", lambda *_: None)
    monkeypatch.setattr(secondact, "paint", lambda _settings: None)
    report = play(where, 1.0, secondact.missing(), aloud=False)
    assert (report.text, report.missing, report.topics) == (None, ("xllamacpp",), {"results": 1})
    assert asdict(report)["missing"] == ("xllamacpp",)
    said = capsys.readouterr()
    assert said.out == ""
    assert "to see a text written too: pip install xllamacpp\n" in said.err


def test_the_users_own_settings_do_not_reach_the_demo() -> None:
    given = {"PATH": "/bin", "MODELMORA_NAMESPACE": "x", "MODELMORA_CONFIG": "y"}
    assert environment(given) == {"PATH": "/bin"}


def test_an_instance_that_does_not_start_says_why_and_is_gone(tmp_path: Path) -> None:
    instance = Showcase(tmp_path, "--no-such-flag")
    with pytest.raises(ModelMoraError, match=r"ended with code 2: No such option: --no-such-flag"):
        instance.start()
    instance.stop()


def test_being_told_to_end_is_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
