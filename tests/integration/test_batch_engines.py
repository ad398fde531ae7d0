"""The batch engines in real children, forked from one zygote that knows them all."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines import entry_for
from modelmora.engines.entries import class_of
from modelmora.messages import (
    Content,
    InferenceResult,
    Parameter,
    ResultHead,
    Source,
    Status,
    Tensor,
)
from modelmora.wire import decode_result, encode_result_head
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.tiny_classifiers import make_tiny_kind, picture
from tests.tiny_steps import STEPS, make_steps

WORK: dict[str, tuple[str, list[Content], dict[str, Parameter], tuple[tuple[int, ...] | None, ...]]]
WORK = {
    "text": ("classify", ["river", "queue"], {"top_k": 2, "truncate": False}, ((2, 2), (2, 2))),
    "image": ("classify", [picture()], {"top_k": 9}, ((1, 3), (1, 3))),
    "clip": (
        "classify",
        [picture()],
        {"top_k": 1, "candidate_labels": ("a", "queue")},
        ((1, 1), (1, 1)),
    ),
    "reranker": ("rerank", ["river", "queue", "a"], {}, ((2,),)),
    "siglip": ("img2embed", [picture(), "river"], {}, ((2, 16),)),
    "git": ("img2txt", [picture()], {"max_tokens": 5}, (None,)),
    "dense": ("txt2embed", ["river", "a"], {"dimensions": 3, "prompt_name": "query"}, ((2, 3),)),
}
"""Task, inputs, parameters, and the shapes of the outputs (None: a string)."""


def result_of(outputs: bytes) -> InferenceResult:
    head = ResultHead("r", Status.COMPLETED, "m", "1", Source("t", 0, 0))
    return decode_result(encode_result_head(head, outputs))


@pytest.mark.faults
async def test_each_answers_in_a_child_of_its_own(tmp_path: Path) -> None:
    specs, modules = [], dict[str, None]()
    for kind, (task, *_) in WORK.items():
        entry = entry_for(task)
        assert entry is not None
        assert entry.read is not None
        folder = make_steps(kind) if kind in STEPS else make_tiny_kind(tmp_path / kind, kind)
        files = entry.read(folder)
        specs.append(Spec(kind, "1", task, class_of(entry, None, files), str(folder)))
        modules |= dict.fromkeys((*entry.modules, *files.modules))
    async with supervised(modules=[*modules]) as (supervisor, recorder):
        facts = await supervisor.zygote_ready()
        assert (facts["threads"], facts["missing"]) == (1, [])
        for replica, spec in enumerate(specs, 1):
            _, inputs, parameters, shapes = WORK[spec.name]
            started = time.perf_counter()
            await load(supervisor, recorder, replica, spec)
            one = group(replica, replica, [inputs], **parameters)
            (outputs,) = await answers(supervisor, recorder, one)
            seconds = time.perf_counter() - started
            private: Any = recorder.info[replica]["private_bytes"]
            sys.stdout.write(f"\n{spec.name}: {seconds * 1e3:.0f} ms, {private / 2**20:.0f} MiB\n")
            assert recorder.codes(replica) == [None]
            assert outputs is not None
            got = result_of(outputs).outputs
            assert tuple(e.shape if isinstance(e, Tensor) else None for e in got) == shapes
        assert (supervisor.forked, supervisor.fresh_starts) == (len(WORK), 0)
