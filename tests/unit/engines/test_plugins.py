"""Engines of other distributions: the documented one serves, a broken one is a fault."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.engines import CATALOG, entry_for, settings_for
from modelmora.engines.plugins import registered
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Tensor
from modelmora.registry import Looker, ModelDefinition, served_or_faults
from modelmora.settings import Settings
from tests.distributions import install_distribution
from tests.unit.engines.engine_rig import batch_engine

PAGE = (Path(__file__).parents[3] / "docs/howto/engine.md").read_text()
ENTRY = "from modelmora.engines import EngineEntry\n"


def shown(title: str) -> str:
    """A file as the page shows it."""
    (code,) = re.findall(rf'```\w+ title="{re.escape(title)}"\n(.*?)```', PAGE, re.DOTALL)
    return str(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what is installed there is looked up anew."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    registered.cache_clear()
    yield folder
    registered.cache_clear()
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def test_the_documented_engine_serves(site: Path, tmp_path: Path) -> None:
    files = {name: shown(name) for name in ("lexicon/entry.py", "lexicon/engine.py")}
    (point,) = re.findall(r'^lexicon = "(.*)"$', shown("pyproject.toml"), re.MULTILINE)
    install_distribution(site, "lexicon", {"lexicon": point}, {"lexicon/__init__.py": "", **files})
    folder = tmp_path / "mood"
    folder.mkdir()
    (folder / "words.json").write_text('{"good": 1.0, "bad": -0.5}')
    assert served_or_faults(Settings(data_dir=tmp_path)).faults == ()
    looker, mood = Looker(Settings()), ModelDefinition("mood", "1", "lexicon", str(folder))
    (looked,) = looker.look((mood,))
    assert looked.fault is None
    assert looked.files.row_bytes == 4
    entry = entry_for("lexicon")
    assert entry is not None
    settings = settings_for(entry, {"missing": 0.25})
    engine = batch_engine(entry.engine)
    assert engine.load(folder, {}) == {"words": 2}
    asked = InferenceRequest("r", "mood", ("good bad what", "bad"))
    plan = engine.plan([(0, asked), (1, InferenceRequest("s", "mood", (b"x",)))], settings)
    ((_, refused),) = plan.refused
    assert refused.code is Code.INVALID_INPUT
    (batch,) = plan.batches
    outputs = engine.finish(asked, engine.run(batch, settings))
    assert isinstance(outputs, list)
    (scores,) = outputs
    assert isinstance(scores, Tensor)
    assert memoryview(scores.data).cast("f").tolist() == [0.75, -0.5]
    with pytest.raises(RequestError, match="between -1 and 1"):
        settings_for(entry, {"missing": 2.0})
    (folder / "words.json").write_text("{}")
    (looked,) = looker.look((mood,))
    assert looked.fault == "the model has no words.json"


BROKEN = {
    "no module": ("a", "nowhere:ENTRY", "", "ModuleNotFoundError"),
    "no name": ("a", "mod:NONE", "", "AttributeError"),
    "raises": ("a", "mod:ENTRY", "1 / 0", "ZeroDivisionError"),
    "exits": ("a", "mod:ENTRY", "raise SystemExit(3)", "SystemExit"),
    "another thing": ("a", "mod:ENTRY", "ENTRY = 3", "no EngineEntry"),
    "no class": ("a", "mod:ENTRY", ENTRY + "ENTRY = EngineEntry('a', 'x')", "no module:Class"),
    "no task": ("a", "mod:ENTRY", ENTRY + "ENTRY = EngineEntry('', 'x:Y')", "no usable task"),
    "our name": ("classify", "mod:ENTRY", ENTRY, "ModelMora has an engine of this name"),
    "a test's name": ("echo", "mod:ENTRY", ENTRY, "ModelMora has an engine of this name"),
    "no usable name": ("A b", "mod:ENTRY", ENTRY, "name is not usable"),
}


@pytest.mark.parametrize(("name", "value", "code", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_is_a_fault_that_hides_nothing(
    site: Path, tmp_path: Path, name: str, value: str, code: str, words: str
) -> None:
    install_distribution(site, "theirs", {name: value}, {"mod.py": code})
    (fault,) = served_or_faults(Settings(data_dir=tmp_path)).faults
    assert fault.startswith(f"engine {name} of theirs: ")
    assert words in fault
    assert entry_for("classify") is CATALOG["classify"]
    assert entry_for("a") is None


def test_two_of_one_name_are_both_left_out(site: Path) -> None:
    code = ENTRY + "ENTRY = EngineEntry('a', 'x:Y')"
    install_distribution(site, "one", {"a": "one_mod:ENTRY"}, {"one_mod.py": code})
    install_distribution(site, "two", {"a": "two_mod:ENTRY"}, {"two_mod.py": code})
    assert not registered().entries
    assert len(registered().faults) == 2


def test_a_second_engine_of_our_task_serves_who_names_it(site: Path, tmp_path: Path) -> None:
    code = ENTRY + "def read(folder): return folder.nothing\n"
    code += "ENTRY = EngineEntry('classify', 'x:Y', read=read)"
    install_distribution(site, "fast", {"fast": "fast_mod:ENTRY"}, {"fast_mod.py": code})
    assert entry_for("classify") is CATALOG["classify"]
    named = entry_for("classify", engine="fast")
    assert named is not None
    assert named.engine == "x:Y"
    assert entry_for("rerank", engine="fast") is None, "it is of another task"
    (tmp_path / "model").mkdir()
    models = [
        ModelDefinition(name, "1", "classify", str(tmp_path / "model"), engine=name)
        for name in ("fast", "slow")
    ]
    fast, slow = Looker(Settings()).look(tuple(models))
    assert fast.fault == "its files cannot be read by the engine (AttributeError)"
    assert slow.fault == "no engine slow is installed for the task classify"


def test_an_entry_that_brings_a_model_library_is_left_out(site: Path) -> None:
    code = "import onnxruntime\n" + ENTRY + "ENTRY = EngineEntry('a', 'x:Y')"
    install_distribution(site, "heavy", {"a": "heavy_mod:ENTRY"}, {"heavy_mod.py": code})
    look = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from modelmora.engines.plugins import registered\n"
        "print(registered().faults, registered().entries)"
    )
    run = [sys.executable, "-c", look]
    told = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert "imports onnxruntime" in told
    assert told.rstrip().endswith("{}")
