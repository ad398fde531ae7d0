"""What a worker may see of the node's environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import modelmora
from modelmora.workers.environment import worker_environment


def test_only_the_allowed_names_pass() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "LD_PRELOAD": "evil.so",
        "MODELMORA_KAFKA__SASL_PASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HF_TOKEN": "secret",
        "OMP_NUM_THREADS": "64",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    seen = worker_environment(given)
    assert seen["PATH"] == "/bin"
    assert seen["LC_ALL"] == "C"
    assert "secret" not in seen.values()
    assert "LD_PRELOAD" not in seen
    assert (seen["OMP_NUM_THREADS"], seen["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert seen["OMP_WAIT_POLICY"] == "passive"


def test_to_ask_torch_for_gpus_does_not_begin_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries do so while the zygote imports them; no child could compute on a GPU after it."""
    import torch

    def begin() -> int:
        raise AssertionError("CUDA has begun")

    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", begin, raising=False)
    for name, value in worker_environment({}).items():
        monkeypatch.setenv(name, value)
    assert not torch.cuda.is_available()


def test_a_source_tree_is_found_by_the_worker_too() -> None:
    first = worker_environment({"PYTHONPATH": "/elsewhere"})["PYTHONPATH"].split(os.pathsep)
    assert Path(first[0], "modelmora") == Path(modelmora.__file__).parent or first == ["/elsewhere"]
    assert first[-1] == "/elsewhere"
