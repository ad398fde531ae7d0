"""A version of a base and an adapter: installed, locked, looked at and removed as one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import ConfigurationError, LockMismatch
from modelmora.registry import Looker, Wish, install, install_wish
from modelmora.registry.declared import read_declared
from modelmora.registry.exporting import export
from modelmora.registry.frozen import install_frozen
from modelmora.registry.lock import differences, read_lock, write_lock
from modelmora.registry.sources.base import quiet
from modelmora.registry.sources.local import Local
from modelmora.settings import AdapterConfig, Licence, Settings
from tests.unit.registry.models import make_model, safetensors, served
from tests.unit.registry.test_lock import flip

LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["query"], "auto_mapping": None}


def make_lora(folder: Path, **config: Any) -> Path:
    """A folder with all that is looked at of an adapter before a load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(LORA | config))
    weights = safetensors(**{"base_model.model.query.lora_A.weight": (4, 16)})
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", lock_file=tmp_path / "modelmora.lock")


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    base, adapter = make_model(tmp_path / "m"), make_lora(tmp_path / "My Tune")
    return Wish(str(base), adapter=str(adapter))


def test_an_adapter_makes_a_version_beside_its_base(
    settings: Settings, wish: Wish, tmp_path: Path
) -> None:
    base = install(settings, wish.source)
    tuned = install_wish(settings, wish)
    assert (base.key, base.active) == (("m", "1"), True)
    assert (tuned.key, tuned.active) == (("m", "my-tune"), False)
    assert tuned.details.adapter == AdapterConfig(source=str(tmp_path / "My Tune"))
    assert tuned in served(settings), "its file says all of it"
    found = {each.definition.key: each for each in Looker(settings).look((base, tuned))}
    plain, both = found["m", "1"], found["m", "my-tune"]
    assert (plain.fault, both.fault) == (None, None)
    assert (plain.adapter, both.adapter) == ("", str(tmp_path / "My Tune"))
    assert both.files.modules == (*plain.files.modules, "peft")
    assert both.files.weight_bytes > plain.files.weight_bytes
    assert both.files.facts["adapter_rank"] == 2


@pytest.mark.row("F24")
def test_both_parts_are_locked_and_no_byte_of_either_may_differ(
    settings: Settings, wish: Wish, tmp_path: Path
) -> None:
    install_wish(settings, wish)
    write_lock(settings)
    locked = read_lock(settings).models["m", "my-tune"].details.adapter
    assert locked is not None
    assert [file.path for file in locked.files] == [
        "adapter_config.json", "adapter_model.safetensors"
    ]  # fmt: skip
    assert differences(settings) == []
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    assert ("m", "my-tune") in {each.key for each in install_frozen(other, quiet)}
    assert differences(other) == []
    flip(tmp_path / "My Tune" / "adapter_model.safetensors")
    fault = "adapter_model.safetensors is not the file that was locked"
    assert differences(settings) == [f"m@my-tune: {fault}"]
    with pytest.raises(LockMismatch, match="adapter_model"):
        install_frozen(other, quiet)
    make_lora(tmp_path / "My Tune")
    (tmp_path / "My Tune" / "adapter_config.json").unlink()
    assert "an adapter is" in differences(settings)[0]


def test_another_adapter_is_another_model_to_the_lock(settings: Settings, wish: Wish) -> None:
    tuned = install_wish(settings, wish)
    write_lock(settings)
    make_lora(Path(wish.source).with_name("other"))
    install_wish(settings, Wish(wish.source, version="my-tune", adapter=wish.source[:-1] + "other"))
    assert differences(settings) == ["m@my-tune: its adapter is not that of the lock file"]
    install(settings, wish.source, version="my-tune")
    assert differences(settings) == ["m@my-tune: its adapter is not that of the lock file"]
    assert install_wish(settings, wish) == tuned
    assert differences(settings) == []


def test_a_locked_node_loads_no_other_adapter(
    settings: Settings, wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sums", "locked"):  # what changed just now is compared again
        monkeypatch.setattr(f"modelmora.registry.{module}.is_settled", lambda _ns: True)
    tuned = install_wish(settings, wish)
    write_lock(settings)
    looker = Looker(settings.model_copy(update={"locked": True}))
    (found,) = looker.look((tuned,))
    assert found.fault is None
    named = {Path(path).name for path, *_ in found.state}
    assert {"adapter_model.safetensors", "model.safetensors"} <= named, "its process checks them"
    flip(Path(str(wish.adapter)) / "adapter_model.safetensors")
    (found,) = looker.look((tuned,))
    assert found.drift is not None
    assert "not the file that was locked" in found.drift


def test_a_change_of_the_adapter_is_a_change_of_the_model(settings: Settings, wish: Wish) -> None:
    tuned, looker = install_wish(settings, wish), Looker(settings)
    (first,) = looker.look((tuned,))
    make_lora(Path(str(wish.adapter)), r=4)
    (second,) = looker.look((tuned,))
    assert (second.fault, second.files.facts["adapter_rank"]) == (None, 4)
    assert first.state != second.state
    (Path(str(wish.adapter)) / "adapter_model.safetensors").unlink()
    (third,) = looker.look((tuned,))
    assert "an adapter is" in str(third.fault)


def test_what_is_no_safe_adapter_is_not_installed(
    settings: Settings, wish: Wish, tmp_path: Path
) -> None:
    adapter = Path(str(wish.adapter))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ConfigurationError, match="pickled"):
        install_wish(settings, wish)
    make_lora(adapter, auto_mapping={"parent_library": "evil"})
    with pytest.raises(ConfigurationError, match="never run"):
        install_wish(settings, wish)
    make_lora(adapter)
    (adapter / "adapter_model.bin").unlink()
    (adapter / "run.py").write_text("raise SystemExit")
    with pytest.raises(ConfigurationError, match="is code"):
        install_wish(settings, wish)
    (adapter / "run.py").unlink()
    testing = settings.model_copy(update={"testing": True})
    with pytest.raises(ConfigurationError, match="takes no adapter"):
        install_wish(testing, Wish(wish.source, task="echo", adapter=wish.adapter))
    assert not list((settings.data_dir / "models").glob("*/my-tune.yaml"))
    with pytest.raises(ConfigurationError, match="--adapter"):
        install(settings, str(adapter), task="txt2embed")


def test_the_licence_is_that_of_both(settings: Settings, wish: Wish) -> None:
    (Path(wish.source) / "LICENSE").write_text("Apache License\n")
    licence = install_wish(settings, wish).details.licence
    assert licence is not None
    assert licence.name == "Apache-2.0 AND NOASSERTION", "one of them tells none"
    (Path(str(wish.adapter)) / "LICENSE").write_text("MIT License\n")
    licence = install_wish(settings, wish).details.licence
    assert licence is not None
    assert licence.name == "Apache-2.0 AND MIT"
    with pytest.raises(ConfigurationError, match="not MIT"):
        install_wish(settings, Wish(wish.source, adapter=wish.adapter, accept_licence="MIT"))


def test_a_file_names_it_from_where_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "models" / "m.yaml"
    file.parent.mkdir()
    file.write_text("name: m\ntask: txt2embed\nsource: ../m\nadapter: {source: ./tune}\n")
    (model,) = read_declared(file).models
    assert model.adapter == AdapterConfig(source=str(tmp_path / "models" / "tune"))
    file.write_text("name: m\ntask: txt2embed\nsource: ../m\nadapter: {from: ./tune}\n")
    with pytest.raises(ConfigurationError, match="adapter"):
        read_declared(file)


def test_only_a_base_is_exported(settings: Settings, wish: Wish) -> None:
    (looked,) = Looker(settings).look((install_wish(settings, wish),))
    with pytest.raises(ConfigurationError, match="only a base is exported"):
        export(settings, looked, int8=False)


def test_a_base_that_is_to_be_accepted_is_asked_for_with_an_adapter_that_tells_nothing(
    settings: Settings, wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(wish.source) / "LICENSE").write_text("GNU Affero General Public License\n")
    asked: list[str] = []
    fetched: list[object] = []
    monkeypatch.setattr(Local, "fetch", lambda *told: fetched.append(told))

    def no(_: str, licence: Licence | None) -> str | None:
        asked.append(licence.name if licence else "")
        return None

    with pytest.raises(ConfigurationError, match="was not accepted"):
        install_wish(settings, replace(wish, ask=no))
    assert asked == ["AGPL AND NOASSERTION"]
    assert fetched == [], "before anything of either"


def test_what_was_accepted_with_an_adapter_is_not_accepted_with_another(
    settings: Settings, wish: Wish, tmp_path: Path
) -> None:
    accepted = replace(wish, version="v", accept_licence="mine")
    install_wish(settings, accepted)
    again = install_wish(settings, replace(wish, version="v")).details.licence
    assert again is not None
    assert again.confirmed_by, "the same adapter's stays so"
    other = replace(wish, version="v", adapter=str(make_lora(tmp_path / "other")))
    assert install_wish(settings, other).details.licence is None
