"""The pure parts of the demo, and that a failed start leaves nothing behind."""

from __future__ import annotations

import math
import os
import signal
import struct
from pathlib import Path

import pytest

from modelmora.cli.demo import (
    SENTENCES,
    Report,
    cosine,
    lines_of,
    rank,
    vector_of,
)
from modelmora.cli.showcase import Showcase, ending_as_interrupt, environment
from modelmora.errors import Code, ModelMoraError
from modelmora.messages import ErrorInfo, InferenceResult, Source, Status, Tensor

SOURCE = Source("t", 0, 0)


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
    vectors = [[float(i), 1.0] for i in range(len(SENTENCES))]
    report = Report(
        model="all-minilm-l6-v2",
        question="I cannot log in any more, what should I do?",
        matches=tuple(rank([1.0, 0.0], SENTENCES, vectors)),
        topics={"requests.normal": 34, "results": 34, "dead-letters": 1},
        dead_letter="undecodable",
        ready_ms=8_000,
        cold_ms=400,
        cold_load_ms=180,
        batch_ms=120,
        warm_p50_ms=9.5,
    )
    lines = list(lines_of(report))
    assert all(len(line) <= 80 for line in lines)
    assert lines[3].endswith(SENTENCES[-1])
    assert any("requests.normal" in line and " 34 " in line for line in lines)


def test_the_users_own_settings_do_not_reach_the_demo() -> None:
    given = {"PATH": "/bin", "MODELMORA_NAMESPACE": "x", "MODELMORA_CONFIG": "y"}
    assert environment(given) == {"PATH": "/bin"}


def test_an_instance_that_does_not_start_says_why_and_is_gone(tmp_path: Path) -> None:
    showcase = Showcase(tmp_path, "--no-such-flag")
    with pytest.raises(ModelMoraError, match=r"ended with code 2: No such option: --no-such-flag"):
        showcase.start()
    showcase.stop()


def test_being_told_to_end_is_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
