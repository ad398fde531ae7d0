"""Models of the hub: the real client against a hub on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelmora.errors import ConfigurationError, LockMismatch, ModelMoraError, NotFound, Unreachable
from modelmora.registry import Looker, install
from modelmora.registry.definitions import configured
from modelmora.registry.fetching import Fetching
from modelmora.registry.frozen import install_frozen
from modelmora.registry.install import Wish, install_wish
from modelmora.registry.lock import differences, write_lock
from modelmora.registry.removing import remove
from modelmora.registry.sources import Corrupt
from modelmora.registry.sources.base import quiet
from modelmora.settings import ModelConfig, Settings
from tests.hub import HubServer, hub_server
from tests.unit.registry.models import make_model, safetensors, served
from tests.unit.registry.test_adapted import make_lora

BIG = "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    folder = make_model(tmp_path / "origin")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files[BIG] = safetensors(**{"embeddings.word_embeddings.weight": (8, 16), "more": (4000, 16)})
    with hub_server({"org/Tiny": files}) as server:
        server.licences["org/Tiny"] = "apache-2.0"
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_a_model_is_installed_in_its_commit_with_files_sums_and_licence(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    hub.models["org/Tiny"] |= {"README.md": b"hello", "pytorch_model.bin": b"pickled", "a.png": b""}
    definition = install(settings, "org/Tiny")
    assert (definition.key, definition.task) == (("tiny", "1"), "txt2embed")
    assert definition.source == "hf:org/Tiny"
    details = definition.details
    assert details.revision == hub.commit("org/Tiny")
    assert details.licence
    assert details.licence.name == "apache-2.0"
    assert [file.path for file in details.files] == [
        "config.json", BIG, "modules.json", "tokenizer.json"
    ]  # fmt: skip
    assert not hub.fetched("pytorch_model.bin"), "what is not read is not fetched"
    assert definition in served(settings)
    (looked,) = Looker(settings).look((definition,))
    assert looked.fault is None
    snapshot = tmp_path / "hf/hub/models--org--Tiny/snapshots" / str(details.revision)
    assert looked.path == str(snapshot), "in the cache that other programs share"


def test_a_branch_that_moved_is_another_revision_and_the_old_one_stays(
    hub: HubServer, settings: Settings
) -> None:
    first = install(settings, "hf:org/Tiny")
    hub.models["org/Tiny"]["config.json"] = b'{"hidden_size": 16, "vocab_size": 8, "new": 1}'
    second = install(settings, "hf:org/Tiny", version="2")
    assert first.details.revision != second.details.revision
    assert len(hub.fetched(BIG)) == 1, "equal files are fetched once"
    with pytest.raises(NotFound, match="no such revision"):
        install(settings, "hf:org/Tiny@v9")


@pytest.mark.row("F17")
def test_a_killed_install_goes_on_where_it_was_and_shows_nothing_half(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    hub.stall = (BIG, 100_000)
    command = [sys.executable, "-m", "modelmora.cli", "install", "org/Tiny"]
    killed = subprocess.Popen(
        [*command, "--data-dir", str(settings.data_dir)],
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert hub.stalled.wait(60)
    part = tmp_path / "hf/hub/models--org--Tiny/blobs"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not [each for each in served(settings) if each.name == "tiny"]
    left = [path.stat().st_size for path in part.glob("*.incomplete")]
    hub.go_on.set()
    definition = install(settings, "org/Tiny")
    assert Looker(settings).look((definition,))[0].fault is None
    if left and left[0]:
        assert hub.fetched(BIG) == ["", f"bytes={left[0]}-"], "what had come is not fetched again"


@pytest.mark.row("F17")
def test_two_installs_at_once_fetch_once(hub: HubServer, settings: Settings) -> None:
    hub.stall = (BIG, 1000)
    results: list[object] = []

    def run(name: str) -> None:
        results.append(install(settings, "org/Tiny", name).details.revision)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    assert hub.stalled.wait(60)
    hub.go_on.set()
    for thread in threads:
        thread.join()
    assert results == [hub.commit("org/Tiny")] * 2
    assert len(hub.fetched(BIG)) == 1


@pytest.mark.row("F24")
@pytest.mark.parametrize("name", ["config.json", BIG])
def test_a_flipped_byte_is_refused_and_not_kept(
    hub: HubServer, settings: Settings, name: str
) -> None:
    true = hub.models["org/Tiny"][name]
    hub.lies[name] = true[:-2] + bytes([true[-2] ^ 1]) + true[-1:]
    with pytest.raises(ModelMoraError, match="that its source tells"):
        install(settings, "org/Tiny")
    assert not settings.data_dir.exists()
    hub.lies.clear()
    assert install(settings, "org/Tiny").details.files


@pytest.mark.parametrize("change", [lambda true: true * 30, lambda true: true[:-9]])
def test_what_is_longer_or_shorter_than_told_is_refused_and_not_kept(
    hub: HubServer, settings: Settings, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    hub.lies[BIG] = change(hub.models["org/Tiny"][BIG])
    with pytest.raises(Corrupt) as caught:
        install(settings, "org/Tiny")
    assert "\n" not in str(caught.value)
    left = sum(path.stat().st_size for path in tmp_path.glob("hf/hub/*/blobs/*.incomplete"))
    assert left <= len(hub.models["org/Tiny"][BIG])
    hub.lies.clear()
    assert install(settings, "org/Tiny").details.files


def test_uninstall_takes_the_files_that_no_other_model_has(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    install(settings, "org/Tiny", "one")
    hub.models["org/Tiny"]["config.json"] = b'{"hidden_size": 16, "vocab_size": 8, "new": 1}'
    second = install(settings, "org/Tiny", "two")
    third = install(settings, "org/Tiny", "three")
    repository = tmp_path / "hf/hub/models--org--Tiny"
    assert remove(settings, "one", files=True)[1] == 36, "the configuration alone is its own"
    assert remove(settings, "two", files=True)[1] == 0
    assert Looker(settings).look((third,))[0].fault is None
    freed = remove(settings, "three", files=True)[1]
    assert freed == sum(file.size for file in second.details.files)
    assert not repository.exists()


def test_a_locked_node_stays_at_its_revision_when_the_branch_moves(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    first = install(settings, "org/Tiny").details.revision
    branch = ModelConfig(name="tiny", task="txt2embed", source="hf:org/Tiny")
    locked = settings.model_copy(
        update={"models": (branch,), "locked": True, "lock_file": tmp_path / "modelmora.lock"}
    )
    assert write_lock(locked).models["tiny", "1"].details.revision == first
    hub.models["org/Tiny"]["config.json"] = b'{"hidden_size": 16, "vocab_size": 8, "new": 1}'
    second = install(settings, "org/Tiny", "other").details.revision
    (free,) = Looker(settings).look((configured(branch),))
    assert free.path.endswith(str(second))
    (looked,) = Looker(locked).look((configured(branch),))
    assert (looked.fault, looked.drift) == (None, None)
    assert looked.path.endswith(str(first))


def test_two_forms_are_fetched_and_locked_where_both_are_wanted(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    hub.models["org/Tiny"]["onnx/model.onnx"] = b"onnx"
    only = ("*.safetensors", "onnx/*")
    both = install_wish(settings, Wish("org/Tiny", fetching=Fetching(only=only)))
    assert "onnx/model.onnx" in [file.path for file in both.details.files]
    locked = settings.model_copy(update={"lock_file": tmp_path / "modelmora.lock"})
    write_lock(locked)
    other = locked.model_copy(
        update={"data_dir": tmp_path / "other", "cache_dir": tmp_path / "cache"}
    )
    assert both in install_frozen(other, quiet)
    assert differences(other) == []
    hub.models["org/Tiny"]["config.json"] = b"{}"
    gone = other.model_copy(update={"cache_dir": tmp_path / "none"})
    with pytest.raises(LockMismatch, match="no such revision"):
        install_frozen(gone, quiet)


HOSTILE = {
    "pickle": ({BIG: None, "pytorch_model.bin": b"x"}, "pickled"),
    "code": ({"modeling_evil.py": b"open('MARK', 'w')"}, "modeling_evil.py is code"),
    "auto_map": ({"config.json": b'{"auto_map": {"AutoModel": "m.M"}}'}, "auto_map"),
    "up": ({"../up.json": b"{}"}, "no path inside"),
    "absolute": ({"/etc/up.json": b"{}"}, "no path inside"),
    "unlisted": ({"data.weird": b"x"}, "of a kind that no model of ours has"),
    "steps": ({"modules.json": b'[{"path": "", "type": "evil.Step"}]'}, "evil.Step"),
}


@pytest.mark.row("F21")
@pytest.mark.parametrize(("files", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_repository_is_refused_and_nothing_of_it_came_or_ran(
    hub: HubServer, settings: Settings, tmp_path: Path, files: dict[str, bytes | None], reason: str
) -> None:
    whole = {**hub.models["org/Tiny"], **files}
    hub.models["org/Tiny"] = {name: each for name, each in whole.items() if each is not None}
    with pytest.raises(ConfigurationError, match=reason) as caught:
        install(settings, "org/Tiny")
    assert "\n" not in str(caught.value)
    assert not hub.fetched(BIG), "refused before the weights are fetched"
    assert not settings.data_dir.exists()
    assert not [*tmp_path.rglob("MARK"), *Path.cwd().glob("MARK")]


def test_offline_only_the_cache_is_asked(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFound, match="HF_HUB_OFFLINE is set"):
        install(settings, "org/Tiny")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    first = install(settings, "org/Tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.log)
    again = install(settings, "org/Tiny")
    assert again.details.files == first.details.files
    assert len(hub.log) == asked


def test_what_the_hub_refuses_is_told_in_one_line(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="HF_TOKEN"):
        install(settings, "org/nothing")
    hub.gated.add("org/Tiny")
    with pytest.raises(ConfigurationError, match="accept its terms"):
        install(settings, "org/Tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="does not answer"):
        install(settings, "org/Tiny")


def test_a_licence_is_accepted_by_its_name_alone(hub: HubServer, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"is under apache-2.0 .*, not mit"):
        install_wish(settings, Wish("org/Tiny", accept_licence="mit"))
    licence = install_wish(settings, Wish("org/Tiny", accept_licence="Apache-2.0")).details.licence
    assert licence
    assert licence.confirmed_by
    assert str(licence.confirmed_at).endswith("Z")


def test_of_several_quantisations_one_must_be_chosen(hub: HubServer, settings: Settings) -> None:
    hub.models["org/G"] = {"a.Q4.gguf": b"GGUF4", "a.Q8.gguf": b"GGUF8", "config.json": b"{}"}
    with pytest.raises(ConfigurationError, match=r"--only PATTERN among a.Q4.gguf, a.Q8.gguf"):
        install(settings, "org/G", task="echo")
    testing = settings.model_copy(update={"testing": True})
    for name in ("Q4", "Q8"):
        wish = Wish("org/G", name.lower(), "echo", fetching=Fetching(only=(f"*{name}*",)))
        (looked,) = Looker(testing).look((install_wish(testing, wish),))
        assert looked.fault is None
    assert looked.path.endswith("a.Q8.gguf"), "though both lie in one folder"


def test_an_adapter_of_the_hub_is_fetched_pinned_and_removed_with_its_version(
    hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    folder = make_lora(tmp_path / "tune")
    hub.models["org/Tune"] = {path.name: path.read_bytes() for path in folder.iterdir()} | {
        "training_args.bin": b"pickled",
        "tokenizer.json": b"{}",
        "checkpoint-1/adapter_model.safetensors": b"x",
    }
    base = install(settings, "org/Tiny")
    tuned = install_wish(settings, Wish("org/Tiny", adapter="org/Tune"))
    assert (tuned.key, tuned.active) == (("tiny", "tune"), False)
    adapter = tuned.details.adapter
    assert adapter is not None
    assert (adapter.source, adapter.revision) == ("hf:org/Tune", hub.commit("org/Tune"))
    names = ["adapter_config.json", "adapter_model.safetensors"]
    assert [file.path for file in adapter.files] == names
    assert not hub.fetched("training_args.bin")
    assert {each.fault for each in Looker(settings).look((base, tuned))} == {None}
    locked = settings.model_copy(update={"lock_file": tmp_path / "modelmora.lock"})
    write_lock(locked)
    other = locked.model_copy(update={"data_dir": tmp_path / "other", "cache_dir": tmp_path / "c"})
    assert tuned.key in {each.key for each in install_frozen(other, quiet)}, "just so again"
    freed = remove(settings, "tiny", "tune", files=True)[1]
    assert freed == sum(file.size for file in adapter.files), "the base stays for the other"
    with pytest.raises(NotFound):
        install_wish(settings, Wish("org/Tiny", adapter="org/Gone"))
    assert install_wish(settings, Wish("org/Tiny", adapter="org/Tune@main")).fault is None
