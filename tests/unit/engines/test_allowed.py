"""Which files make a model: safe forms alone, nothing that could run, nothing outside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.engines.allowed import check_json, check_one, choose, is_harmless, readable
from modelmora.engines.base import LoadError

CONFIG, SAFE = "config.json", "model.safetensors"


def chosen(*paths: str, only: Sequence[str] = ()) -> list[str]:
    return [*choose([(path, 1) for path in paths], only)]


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        ([CONFIG, SAFE, "README.md", ".gitattributes", "x.png", "LICENSE"], [CONFIG, SAFE]),
        ([CONFIG, SAFE, "pytorch_model.bin", "tf_model.h5", "rust_model.ot"], [CONFIG, SAFE]),
        ([CONFIG, SAFE, "train_script.py"], [CONFIG, SAFE]),
        ([CONFIG, SAFE, "onnx/model.onnx", "openvino/openvino_model.bin"], [CONFIG, SAFE]),
        ([CONFIG, SAFE, "original/consolidated.00.pth"], [CONFIG, SAFE]),
        ([CONFIG, "m.onnx", "m.onnx_data"], [CONFIG, "m.onnx", "m.onnx_data"]),
        (["m.gguf"], ["m.gguf"]),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf"],
         ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf"]),
        (["model_index.json", "sd.safetensors", "unet/config.json", "unet/d.fp16.safetensors",
          "unet/d.safetensors"],
         ["model_index.json", "unet/config.json", "unet/d.safetensors"]),
        (["model_index.json", "unet/config.json", "unet/d.fp16.safetensors"],
         ["model_index.json", "unet/config.json", "unet/d.fp16.safetensors"]),
        ([CONFIG, SAFE, "consolidated.safetensors"], [CONFIG, SAFE]),
        ([CONFIG, SAFE, ".cache/huggingface/x.lock", ".git/hooks/pre-commit"], [CONFIG, SAFE]),
    ],
)  # fmt: skip
def test_what_makes_a_model(paths: list[str], taken: list[str]) -> None:
    assert chosen(*paths) == taken


@pytest.mark.row("F21")
@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ([CONFIG, "pytorch_model.bin"], "pickled"),
        ([CONFIG, "weights.npy"], "pickled"),
        ([CONFIG, SAFE, "2_Dense/config.json", "2_Dense/pytorch_model.bin"], "2_Dense.*pickled"),
        ([CONFIG, SAFE, "modeling.py"], r"modeling\.py is code"),
        ([CONFIG, SAFE, "lib.so"], "is code"),
        ([CONFIG, SAFE, "data.xyz"], "of a kind"),
        ([CONFIG, SAFE, "Makefile"], "of a kind"),
        ([CONFIG, "model.h5"], "other weights"),
        ([f"{n}.json" for n in range(3000)], "3000 files"),
    ],
)
def test_what_is_refused(paths: list[str], reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        chosen(*paths)


@pytest.mark.row("F22")
@pytest.mark.parametrize(
    "path",
    ["../x.json", "/x.json", "a/../x.json", "a//x.json", "a\\x.json", "C:/x.json", "a/./x.json",
     "x\n.json", "\u202ex.json", "", "a/", "x" * 500],
)  # fmt: skip
def test_no_path_leads_out(path: str) -> None:
    with pytest.raises(LoadError, match="no path inside"):
        chosen(CONFIG, SAFE, path)


SEGMENT = st.sampled_from(["..", ".", "", "a", "b c", "é", "\0", "\\", "c:", "x" * 300])


@pytest.mark.row("F22")
@given(st.lists(SEGMENT, min_size=1, max_size=5), st.sampled_from([".json", ".safetensors", ""]))
def test_whatever_is_chosen_stays_inside(segments: list[str], suffix: str) -> None:
    path = "/".join(segments) + suffix
    try:
        taken = chosen(CONFIG, SAFE, path)
    except LoadError:
        return
    for each in taken:
        assert not each.startswith("/")
        assert not {"..", ".", ""} & {*each.split("/")}
        assert each.isprintable()


@pytest.mark.row("F21")
@given(st.lists(st.text(alphabet="ab./_-pytJSONsafernk", max_size=30), max_size=8))
def test_nothing_that_runs_is_ever_chosen(paths: list[str]) -> None:
    try:
        taken = chosen(CONFIG, SAFE, *paths)
    except LoadError:
        return
    assert not [p for p in taken if p.endswith((".py", ".bin", ".pt", ".pkl", ".npy", ".so"))]
    assert {CONFIG, SAFE} <= {*taken}


def test_one_of_several_quantisations_is_fetched() -> None:
    check_one(["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf", "a.json"])
    with pytest.raises(LoadError, match=r"--only PATTERN among a\.gguf, b\.gguf"):
        check_one(["a.gguf", "b.gguf"])


def test_only_narrows_the_weights() -> None:
    assert chosen("a.Q4.gguf", "b.Q8.gguf", CONFIG, only=["*Q8*"]) == ["b.Q8.gguf", CONFIG]
    assert chosen(CONFIG, SAFE, "onnx/m.onnx", only=["onnx/*"]) == [CONFIG, "onnx/m.onnx"]
    both = [CONFIG, SAFE, "onnx/m.onnx"]
    assert chosen(*both, "x.gguf", only=["onnx/*", "*.safetensors"]) == both
    with pytest.raises(LoadError, match="no weights match"):
        chosen(CONFIG, SAFE, only=["*.gguf"])


@pytest.mark.row("F21")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, {"auto_map": {}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "t.T"}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "p.P"}}),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "os"}}),
        ("modules.json", [{"type": "evil.Module", "path": ""}]),
        ("model_index.json", {"_class_name": "X", "unet": ["os", "system"]}),
        ("model_index.json", {"_class_name": ["pipeline", "Mine"]}),
    ],
)
def test_configurations_that_name_code_are_refused(name: str, content: object) -> None:
    with pytest.raises(LoadError, match="code of its own"):
        check_json(f"a/{name}", content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, {"architectures": ["BertModel"]}),
        ("modules.json", [{"type": "sentence_transformers.models.Pooling"}]),
        ("model_index.json",
         {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.39.0",
          "unet": ["diffusers", "UNet2DConditionModel"], "feature_extractor": [None, None],
          "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}),
        ("vocab.json", ["a"]),
        ("x.json", 3),
    ],
)  # fmt: skip
def test_others_are_not(name: str, content: object) -> None:
    check_json(name, content)


def test_whatever_an_engine_may_read_is_told() -> None:
    paths = [CONFIG, SAFE, "onnx/m.onnx", "onnx/m.onnx_data", "m.gguf", "README.md", "x.bin"]
    assert {*readable([(path, 1) for path in paths])} == {*paths} - {"README.md", "x.bin"}


def test_harmless_is_not_what_could_be_read() -> None:
    assert not [p for p in (CONFIG, SAFE, "a.gguf", "x.py", "x.bin", ".x.py") if is_harmless(p)]
