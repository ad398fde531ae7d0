"""The environment that zygote and children get: an allow-list, so that no secret goes along."""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

ALLOWED = frozenset({
    "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ",
    "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH",
    "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "PYTHONUTF8",
})  # fmt: skip
FIXED: Mapping[str, str] = {
    # numpy and OpenMP start threads at import unless told not to; a fork must see one thread.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # By default OpenMP threads spin long at every barrier, which on shared cores keeps the very
    # thread they wait for from running: twice the CPU time, half the rate beside other work.
    "OMP_WAIT_POLICY": "passive",
    "CUDA_VISIBLE_DEVICES": "",
    # Libraries ask for GPUs while they are imported. Without this torch would begin with CUDA to
    # answer, and no process that is forked afterwards could.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # The working directory is no place to import from.
    "PYTHONSAFEPATH": "1",
}


def worker_environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of `source` (default: this process's environment) a worker may see, and our own."""
    given = os.environ if source is None else source
    kept = {k: v for k, v in given.items() if k in ALLOWED or k.startswith("LC_")}
    root = str(Path(__file__).resolve().parents[2])
    if root not in site.getsitepackages():
        # Run from a source tree: the worker must find this same package.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return {**kept, **FIXED}
