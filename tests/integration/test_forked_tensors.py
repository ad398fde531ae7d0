"""ONNX Runtime computes in a child that was forked from the zygote; no broker."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelmora.engines import CATALOG
from modelmora.messages import Tensor
from modelmora.wire import encode_outputs
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.tiny_graphs import make_graph, scaled


async def test_tensors_through_a_forked_child(tmp_path: Path) -> None:
    entry = CATALOG["tensor"]
    spec = Spec("scaled", "1", "tensor", entry.engine, str(make_graph(tmp_path, scaled())))
    arrays = [np.full((rows, 3), rows, "<f4") for rows in (1, 2, 3)]
    async with supervised(entry.modules) as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec)
        one = group(1, 1, [[Tensor("x", "FP32", a.shape, a.tobytes())] for a in arrays])
        factors = np.array([1, 2, 3], "<f4")
        assert await answers(supervisor, recorder, one) == [
            encode_outputs([Tensor("y", "FP32", a.shape, (a * factors).tobytes())]) for a in arrays
        ]
        await load(supervisor, recorder, 2, Spec())
    assert recorder.info[1]["inputs"] == "x FP32 [batch, 3]"
    assert recorder.info[1]["sandbox"] == recorder.info[2]["sandbox"], "one thread until enclosed"
