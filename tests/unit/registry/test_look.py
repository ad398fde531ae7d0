"""Files that are not whole are seen before anything is loaded, and seen again once they are."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmora.engines.base import LoadError
from modelmora.engines.catalog import entry_for
from modelmora.engines.files import read_header
from modelmora.engines.sentences.sentence import read_files
from modelmora.errors import ConfigurationError, NotFound
from modelmora.kafka.sizes import inputs_that_fit
from modelmora.registry import ModelDefinition, install
from modelmora.registry.look import Looker
from modelmora.settings import ModelDetails, Settings
from tests.unit.registry.models import CONFIG, ROWS, WEIGHTS, WIDTH, make_model, safetensors

Attack = Callable[[Path], object]
NOBODY = 65534
TENSORS = "model.safetensors"
INDEX = f"{TENSORS}.index.json"


def put(name: str, content: object) -> Attack:
    """Replace a file; what is no text and no bytes becomes JSON."""

    def attack(folder: Path) -> None:
        raw = content if isinstance(content, str) else json.dumps(content, default=repr)
        (folder / name).write_bytes(content if isinstance(content, bytes) else raw.encode())

    return attack


def remove(name: str) -> Attack:
    return lambda folder: (folder / name).unlink()


def make_folder(name: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return attack


def make_pipe(name: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return attack


def link(name: str, to: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return attack


def shards(**files: bytes | None) -> Attack:
    """Shards in place of one file, the index naming all of them; None: the shard is missing."""

    def attack(folder: Path) -> None:
        (folder / TENSORS).unlink()
        names = {f"tensor{n}": f"{name}.safetensors" for n, name in enumerate(files)}
        put(INDEX, {"weight_map": names})(folder)
        for name, content in files.items():
            if content is not None:
                (folder / f"{name}.safetensors").write_bytes(content)

    return attack


def both(*attacks: Attack) -> Attack:
    def attack(folder: Path) -> None:
        for each in attacks:
            each(folder)

    return attack


def write_file(folder: Path) -> None:
    folder.write_text("")


def link_to_itself(folder: Path) -> None:
    folder.symlink_to(folder)


LONG = (1 << 40).to_bytes(8, "little") + WEIGHTS[8:]
GAP = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode()
ATTACKS: dict[str, tuple[Attack, str]] = {
    "no byte": (put(TENSORS, b""), "cut off or no safetensors file"),
    "no header": (put(TENSORS, WEIGHTS[:7]), "cut off or no safetensors file"),
    "half a header": (put(TENSORS, WEIGHTS[:40]), "cut off or no safetensors file"),
    "half": (put(TENSORS, WEIGHTS[: len(WEIGHTS) // 2]), "and should have"),
    "one byte less": (put(TENSORS, WEIGHTS[:-1]), "and should have"),
    "one byte more": (put(TENSORS, WEIGHTS + b"!"), "and should have"),
    "other bytes": (put(TENSORS, b"\xff" * len(WEIGHTS)), "cut off or no safetensors file"),
    "a long header": (put(TENSORS, LONG), "cut off or no safetensors file"),
    "a gap": (
        put(TENSORS, len(GAP).to_bytes(8, "little") + GAP + bytes(8)),
        "overlap or leave gaps",
    ),
    "an lfs pointer": (put(TENSORS, "version https://git-lfs.github.com/spec/v1\n"), "cut off"),
    "no weights": (remove(TENSORS), "no *.safetensors weights"),
    "weights a folder": (make_folder(TENSORS), "model.safetensors is no file"),
    "weights a loop": (link(TENSORS, TENSORS), "model.safetensors is a link to nothing"),
    "weights a dead link": (link(TENSORS, "gone"), "model.safetensors is a link to nothing"),
    "weights a pipe": (make_pipe(TENSORS), "model.safetensors is no file"),
    "config a pipe": (make_pipe("config.json"), "config.json is no file"),
    "a shard missing": (shards(a=WEIGHTS, b=None), "b.safetensors is missing"),
    "a shard cut": (shards(a=WEIGHTS, b=WEIGHTS[:-5]), "b.safetensors has"),
    "a shard elsewhere": (shards(**{"a": WEIGHTS, "../b": None}), "outside of the model's folder"),
    "an index of nothing": (
        both(shards(a=WEIGHTS), put(INDEX, {})),
        "names no file",
    ),
    "an index cut": (
        both(shards(a=WEIGHTS), put(INDEX, '{"weight')),
        "index.json is not valid JSON",
    ),
    "no config": (remove("config.json"), "no config.json"),
    "config cut": (put("config.json", '{"hid'), "config.json is not valid JSON"),
    "config empty": (put("config.json", ""), "config.json is not valid JSON"),
    "config no mapping": (put("config.json", []), "config.json does not hold a dict"),
    "config no text": (put("config.json", b"\xff\xfe\xff"), "config.json is not valid JSON"),
    "config deep": (put("config.json", "[" * 100_000), "config.json is not valid JSON"),
    "config a folder": (make_folder("config.json"), "config.json is no file"),
    "config a loop": (link("config.json", "config.json"), "config.json is a link to nothing"),
    "config a dead link": (link("config.json", "gone"), "config.json is a link to nothing"),
    "a lie of width": (
        put("config.json", CONFIG | {"hidden_size": 99}),
        f"`hidden_size` 99, and the weights have {WIDTH}",
    ),
    "a lie of words": (
        put("config.json", CONFIG | {"vocab_size": 7}),
        f"`vocab_size` 7, and the weights have {ROWS}",
    ),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer.json"),
    "tokenizer cut": (put("tokenizer.json", '{"model"'), "tokenizer.json is not valid JSON"),
    "tokenizer none": (put("tokenizer.json", {"model": 1}), "tokenizer.json holds no tokenizer"),
    "tokenizer another's": (
        put("tokenizer.json", {"model": {"vocab": [*range(ROWS + 1)]}}),
        f"of another model: it has {ROWS + 1} tokens, and the weights have {ROWS}",
    ),
    "tokenizer a folder": (make_folder("tokenizer.json"), "tokenizer.json is no file"),
    "modules no list": (put("modules.json", {}), "modules.json does not hold a list"),
    "modules of numbers": (put("modules.json", [1]), "modules.json does not list steps"),
    "the folder gone": (rmtree, "there is no folder"),
    "the folder a file": (
        both(rmtree, write_file),
        "there is no folder",
    ),
    "the folder a loop": (
        both(rmtree, link_to_itself),
        "there is no folder",
    ),
}


@pytest.mark.parametrize(("attack", "words"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_not_whole_has_failed_with_one_reason_and_heals(
    tmp_path: Path, attack: Attack, words: str
) -> None:
    folder, other = make_model(tmp_path / "m"), make_model(tmp_path / "other")
    models = tuple(ModelDefinition(p.name, "1", "txt2embed", str(p)) for p in (folder, other))
    looker = Looker(Settings())
    whole = looker.look(models)
    assert [each.fault for each in whole] == [None, None]
    attack(folder)
    broken, fine = looker.look(models)
    assert words in str(broken.fault)
    assert "\n" not in str(broken.fault)
    assert fine is whole[1], "what has not changed is not read again"
    with pytest.raises((ConfigurationError, NotFound)):
        install(Settings(data_dir=tmp_path / "data"), str(folder), task="txt2embed")
    assert not (tmp_path / "data").exists()
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir():
        rmtree(folder)
    make_model(folder)
    assert [each.fault for each in looker.look(models)] == [None, None]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of root's that everybody may enter, and we are somebody else."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()
    yield folder
    os.seteuid(user)
    for path in (folder / "m", *(folder / "m").iterdir()):
        path.chmod(0o755)
    rmtree(folder)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer.json", TENSORS, "."])
def test_what_may_not_be_read_has_failed(open_folder: Path, name: str) -> None:
    folder = make_model(open_folder / "m")
    (folder / name).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    (looked,) = Looker(Settings()).look((ModelDefinition("m", "1", "txt2embed", str(folder)),))
    assert str(looked.fault).endswith("cannot be read: Permission denied")


def test_a_whole_model_tells_its_sizes(tmp_path: Path) -> None:
    files = read_files(make_model(tmp_path / "one"))
    assert (files.weight_bytes, files.row_bytes) == (len(WEIGHTS), 4 * WIDTH)
    assert files.facts["dimension"] == WIDTH
    assert inputs_that_fit(files.row_bytes or 1) > 30_000
    shards(a=WEIGHTS, b=safetensors(more=(3, 4)))(tmp_path / "one")
    more = len(safetensors(more=(3, 4)))
    assert read_files(tmp_path / "one").weight_bytes == len(WEIGHTS) + more


def test_a_changed_file_is_another_state(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    models = (ModelDefinition("m", "1", "txt2embed", str(folder)),)
    looker = Looker(Settings())
    (before,) = looker.look(models)
    assert looker.look(models) == (before,)
    (folder / "training.log").write_text("what a model is not read from")
    assert looker.look(models) == (before,)
    aside = folder / ".aside"
    aside.write_bytes(WEIGHTS)
    aside.replace(folder / TENSORS)
    (after,) = looker.look(models)
    assert after.files == before.files
    assert after.state != before.state


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=9,
)
KEYS = (
    "hidden_size vocab_size type path pooling_mode model vocab prompts default_prompt_name "
    "max_seq_length weight_map dtype shape data_offsets"
)
MAPPINGS = st.dictionaries(st.sampled_from(KEYS.split()), JSON, max_size=5)
FILES = (
    "config.json",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    INDEX,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), content=JSON | MAPPINGS | st.lists(MAPPINGS, max_size=3))
def test_no_json_is_more_than_a_fault(tmp_path: Path, name: str, content: object) -> None:
    folder = tmp_path / "m"
    rmtree(folder, ignore_errors=True)
    make_model(folder)
    (folder / "1_Pooling").mkdir()
    types = "sentence_transformers.models"
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    put("modules.json", [{"path": p, "type": f"{types}.{kind}"} for p, kind in steps])(folder)
    put("1_Pooling/config.json", {})(folder)
    put(name, content)(folder)
    with suppress(LoadError):
        assert read_files(folder).weight_bytes > 0


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(st.text(max_size=5), MAPPINGS, max_size=3) | JSON,
    rest=st.binary(max_size=40),
)
def test_no_header_is_more_than_a_fault(tmp_path: Path, header: object, rest: bytes) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / TENSORS
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    with suppress(LoadError):
        assert read_header(path)[0] == path.stat().st_size


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"truncate": "yes"}, "its parameters: parameter `truncate` must be a boolean"),
        ({"dimensions": 0}, "its parameters: parameter `dimensions` must be at least 1"),
        ({"trunk": True}, "its parameters: task txt2embed takes no `trunk`; it knows: dimensions"),
        ({"keep_alive": 5}, "its parameters: task txt2embed takes no `keep_alive`"),
        ({"prompt_name": None}, "its parameters: parameter `prompt_name` must be a string"),
    ],
)
def test_a_default_that_the_engine_does_not_take_is_a_fault_of_the_model(
    tmp_path: Path, parameters: dict[str, Any], words: str
) -> None:
    source, told = str(make_model(tmp_path / "m")), ModelDetails(parameters=parameters)
    wrong = ModelDefinition("m", "1", "txt2embed", source, details=told)
    (looked,) = Looker(Settings()).look((wrong,))
    assert str(looked.fault).startswith(words)
    assert looked.path, "it is here, and so this node tells why it does not serve it"


@pytest.mark.parametrize("built_in", [False, True])
def test_a_models_own_defaults_stand_in_its_entry(tmp_path: Path, *, built_in: bool) -> None:
    if built_in:
        task, source, name, value = "sleep", "builtin:sleep", "ms", 7
    else:
        task, source, name, value = "txt2embed", str(make_model(tmp_path / "m")), "truncate", True
    told = ModelDetails(parameters={name: value})
    looker = Looker(Settings(testing=True))
    for details, default in ((told, value), (ModelDetails(), None)):
        (looked,) = looker.look((ModelDefinition("m", "1", task, source, details=details),))
        assert looked.fault is None
        assert looked.entry.parameters[name].default == (
            default or entry_for(task, testing=True).parameters[name].default  # type: ignore[union-attr]
        )
