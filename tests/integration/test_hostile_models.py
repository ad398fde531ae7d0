"""Models made to harm: refused at install, by the lock, and by the child that loads."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelmora.errors import Code, ConfigurationError
from modelmora.registry import install
from modelmora.registry.lock import differences, write_lock
from modelmora.registry.locked import Locked
from modelmora.settings import ModelConfig, Settings
from modelmora.workers import ExitReason
from tests.faults.recording import Figures
from tests.integration.worker_rig import Spec, supervised
from tests.tiny_graphs import model, node, port, weights
from tests.unit.registry.models import make_model, served

Attack = Callable[[Path], None]
EMBEDDING = "modelmora.engines.sentences.embedding:Embedding"
MARK = "MARK"
"""A file that appears where anything of a model runs."""
RUNS = f"open({MARK!r}, 'w')"
# protocol 0: GLOBAL os.system, a string, TUPLE1, REDUCE, STOP
PICKLE = f"cos\nsystem\n(S'touch {MARK}'\ntR.".encode()


def put_file(name: str, content: bytes | str = PICKLE) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return attack


def instead(name: str, content: bytes | str = PICKLE) -> Attack:
    """Weights in place of the good ones."""

    def attack(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        put_file(name, content)(folder)

    return attack


def told(name: str, content: object) -> Attack:
    return put_file(name, json.dumps(content))


def linked(name: str, target: str) -> Attack:
    return lambda folder: (folder / name).symlink_to(target)


def torch_zip() -> bytes:
    """As `torch.save` writes: a pickle in an archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    return stream.getvalue()


def graph_outside() -> bytes:
    """A graph whose weights lie where they like."""
    port_x, port_y = port("x", 1, [1]), port("y", 1, [1])
    outside = weights("w", [2], {"location": "../outside"})
    return model([node("Mul", ["x", "w"], ["y"])], [port_x], [port_y], [outside])


LAYER = '{"class_name": "Lambda", "config": {"function": ["b3BlbignTUFSSycsJ3cnKQ=="]}}'
CORPUS: dict[str, Attack] = {
    "pickled weights": instead("pytorch_model.bin"),
    "an archive of torch": instead("model.pt", torch_zip()),
    "a checkpoint": instead("model.ckpt", torch_zip()),
    "numpy with objects": instead("weights.npy", b"\x93NUMPY\x01\0" + PICKLE),
    "Keras with a Lambda": instead("model.h5", b"\x89HDF\r\n\x1a\n" + LAYER.encode()),
    "code": put_file("modeling_evil.py", RUNS),
    "code in a folder": put_file("custom_generate/generate.py", RUNS),
    "a library": put_file("kernel.so", b"\x7fELF"),
    "auto_map": told("config.json", {"auto_map": {"AutoModel": "modeling_evil.Evil"}}),
    "auto_map of a part": told("config.json", {"text_config": {"auto_map": {"AutoModel": "m.M"}}}),
    "auto_map of another repository": told(
        "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil/repo--t.T", None]}}
    ),
    "auto_map of a processor": told(
        "processor_config.json", {"auto_map": {"AutoProcessor": "p.P"}}
    ),
    "attention of a repository": told(
        "config.json", {"_attn_implementation_internal": "evil/attn"}
    ),
    "attention of a part": told("config.json", {"v": [{"attn_implementation": "evil/attn:fn"}]}),
    "a step of its own": told("modules.json", [{"type": "os.system", "path": ""}]),
    "a pipeline of modules": told(
        "model_index.json", {"_class_name": "X", "unet": ["os", "system"]}
    ),
    "a pipeline of its own": told("model_index.json", {"_class_name": ["pipeline", "Mine"]}),
    "pipelines of the hub": told("config.json", {"custom_pipelines": {"x": {"impl": "evil.X"}}}),
    "a class of an adapter": told(
        "adapter_config.json", {"auto_mapping": {"parent_library": "os", "base_model_class": "x"}}
    ),
    "a link out": linked("vocab.txt", "/etc/passwd"),
    "a link up": linked("merges.txt", "../outside"),
    "a folder that leads out": linked("more", "/etc"),
    "a pipe": lambda folder: os.mkfifo(folder / "vocab.json"),
    "no GGUF": put_file("model.gguf", torch_zip()),
    "a configuration without end": put_file("config.json", '{"x": "' + "a" * 5_000_000 + '"}'),
    "a configuration too deep": put_file("config.json", "[" * 200_000),
    "no file that a model has": put_file("data.weird"),
}


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Looks at the folder that all run in, and at ours."""
    (tmp_path / "outside").write_text("secret")
    monkeypatch.chdir(tmp_path)

    def look() -> None:
        assert not [*tmp_path.rglob(MARK)]

    return look


@pytest.mark.row("F21")
@pytest.mark.parametrize("attack", CORPUS.values(), ids=CORPUS)
def test_none_is_installed_or_is_what_was_locked(
    attack: Attack, tmp_path: Path, nothing_ran: Callable[[], None], figures: Figures
) -> None:
    folder = make_model(tmp_path / "m")
    config = ModelConfig(name="m", task="txt2embed", source=str(folder))
    settings = Settings(
        data_dir=tmp_path / "data", lock_file=tmp_path / "modelmora.lock", models=(config,)
    )
    write_lock(settings)
    (definition,) = served(settings)
    locked = Locked(settings)
    locked.refresh()
    assert locked.fault(definition) is None
    attack(folder)
    assert differences(settings)
    assert locked.fault(definition)
    with pytest.raises(ConfigurationError) as refused:
        install(settings, str(folder))
    assert "\n" not in str(refused.value)
    assert not [*(tmp_path / "data" / "models").rglob("*.yaml")]
    nothing_ran()
    figures.add(faults=1)


@pytest.mark.row("F21")
async def test_none_is_loaded(
    tmp_path: Path, nothing_ran: Callable[[], None], figures: Figures
) -> None:
    async with supervised() as (supervisor, recorder):
        for replica, (name, attack) in enumerate(CORPUS.items()):
            folder = make_model(tmp_path / str(replica))
            attack(folder)
            supervisor.load(replica, Spec("m", "1", "txt2embed", EMBEDDING, str(folder)))
            await recorder.wait("exited", replica)
            (report,) = recorder.reports[replica]
            assert (report.reason, report.exit_code) == (ExitReason.LOAD_FAILED, 0), name
            assert recorder.refused[replica][0] is Code.CANNOT_BE_SERVED, name
            figures.add(faults=1)
    nothing_ran()
