"""Every engine of transformers in an environment that holds a newer one; fetched from PyPI."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from modelmora.engines import entry_for
from modelmora.engines.entries import class_of
from modelmora.messages import Content, Parameter
from tests.integration.test_batch_engines import WORK, result_of
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.tiny_classifiers import make_tiny_kind
from tests.tiny_models import make_tiny
from tests.tiny_pipelines import make_pipeline
from tests.tiny_steps import STEPS, make_steps
from tests.tiny_texts import make_tiny_text

SEEN = """
import huggingface_hub, transformers
print(transformers.__version__, huggingface_hub.__version__)
"""
ALL: dict[str, tuple[str, list[Content], dict[str, Parameter]]] = {
    **{kind: each[:3] for kind, each in WORK.items()},
    "bert": ("txt2embed", ["river"], {}),
    "llama": ("txt2txt", ["the"], {"temperature": 0, "max_tokens": 20, "template": False}),
    "pipeline": ("txt2img", ["a cat"], {"steps": 2, "seed": 7}),
}


def newer(folder: Path) -> tuple[Path, str]:
    """A Python with the newest transformers before our own packages, and its version."""
    python, install = folder / "bin" / "python", [sys.executable, "-m", "uv", "pip", "install"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    # The others serve both; torch is not fetched again.
    names = ["transformers", "huggingface-hub"]
    subprocess.run([*install, "--quiet", "--no-deps", "--python", python, *names], check=True)
    places = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    ours = sysconfig.get_path("purelib")
    (Path(places) / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    told = subprocess.run([python, "-c", SEEN], check=True, capture_output=True, text=True)
    return python, told.stdout.split()[0]


def made(kind: str, folder: Path) -> Path:
    """A tiny model of that kind."""
    makers = {"bert": make_tiny, "llama": make_tiny_text, "pipeline": make_pipeline}
    if maker := makers.get(kind):
        return maker(folder)
    return make_steps(kind) if kind in STEPS else make_tiny_kind(folder, kind)


def spec_of(kind: str, folder: Path) -> Spec:
    """How a node would load it."""
    task = ALL[kind][0]
    entry = entry_for(task)
    assert entry is not None
    assert entry.read is not None
    path = made(kind, folder)
    return Spec(kind, "1", task, class_of(entry, None, entry.read(path)), str(path))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its Python, once for all."""
    python, found = newer(tmp_path_factory.mktemp("newer") / "venv")
    ours = version("transformers")
    assert [*map(int, found.split("."))] > [*map(int, ours.split("."))]
    print(f"transformers {found} beside {ours}")
    return python


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ALL)
async def test_each_engine_answers_as_with_ours(kind: str, runtime: Path, tmp_path: Path) -> None:
    _, inputs, parameters = ALL[kind]
    ours = spec_of(kind, tmp_path / kind)
    theirs = Spec(kind, "1", ours.task, ours.engine, ours.path, runtime="newer")
    got = []
    async with supervised(runtimes={"newer": runtime}) as (supervisor, recorder):
        for replica, spec in ((1, theirs), (2, ours)):
            await load(supervisor, recorder, replica, spec)
            one = group(replica, replica, [inputs], **parameters)
            (outputs,) = await answers(supervisor, recorder, one)
            assert outputs is not None, recorder.results[replica]
            got.append(result_of(outputs).outputs)
    assert got[0] == got[1]
