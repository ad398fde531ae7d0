"""What a model's files may say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelmora.engines.base import LoadError
from modelmora.engines.sentences.sentence import read_sentence_model
from modelmora.errors import Code

STEPS = ("Transformer", "Pooling", "Normalize")


def modules(*names: str, package: str = "sentence_transformers.models") -> list[dict[str, str]]:
    return [
        {"path": "" if name == "Transformer" else f"{i}_{name}", "type": f"{package}.{name}"}
        for i, name in enumerate(names)
    ]


def make(path: Path, files: dict[str, Any]) -> Path:
    base: dict[str, Any] = {"config.json": {"model_type": "bert"}, "model.safetensors": ""}
    for name, content in (base | files).items():
        if content is not None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content)
            (path / name).write_text(text)
    return path


def test_a_plain_transformer_is_averaged(tmp_path: Path) -> None:
    model = read_sentence_model(make(tmp_path, {}))
    assert (model.pooling, model.normalize, model.max_tokens) == (("mean",), False, None)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({}, ("mean",)),
    ],
)
def test_files_of_the_model_decide(
    tmp_path: Path, config: dict[str, Any], pooling: tuple[str, ...]
) -> None:
    files = {
        "modules.json": modules(*STEPS),
        "1_Pooling/config.json": config,
        "sentence_bert_config.json": {"max_seq_length": 99, "do_lower_case": True},
        "config_sentence_transformers.json": {
            "prompts": {"query": "q: "},
            "default_prompt_name": "query",
        },
    }
    model = read_sentence_model(make(tmp_path, files))
    assert model.pooling == pooling
    assert (model.normalize, model.max_tokens, model.lower_case) == (True, 99, True)
    assert model.prompt == "q: "


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"config.json": None}, Code.CANNOT_BE_SERVED, "no config.json"),
        ({"config.json": "{"}, Code.CANNOT_BE_SERVED, "not valid JSON"),
        ({"config.json": {"auto_map": {}}}, Code.CANNOT_BE_SERVED, "code of its own"),
        ({"tokenizer_config.json": {"auto_map": {}}}, Code.CANNOT_BE_SERVED, "code of its own"),
        (
            {"model.safetensors": None, "pytorch_model.bin": "x"},
            Code.CANNOT_BE_SERVED,
            "pickled",
        ),
        ({"model.safetensors": None}, Code.CANNOT_BE_SERVED, "no \\*.safetensors"),
        ({"modules.json": modules("Transformer", "BoW")}, Code.CANNOT_BE_SERVED, "'BoW'"),
        ({"modules.json": modules("Pooling", "Transformer")}, Code.CANNOT_BE_SERVED, "begin with"),
        ({"modules.json": modules("Transformer", "Dense")}, Code.CANNOT_BE_SERVED, "no \\*.safet"),
        ({"modules.json": []}, Code.CANNOT_BE_SERVED, "begin with"),
        (
            {"modules.json": modules("Transformer", "Dense"), "1_Dense/pytorch_model.bin": "x"},
            Code.CANNOT_BE_SERVED,
            "pickled",
        ),
        (
            {
                "modules.json": modules("Transformer", "Dense"),
                "1_Dense/model.safetensors": "",
                "1_Dense/config.json": {"activation_function": "torch.hub.load"},
            },
            Code.CANNOT_BE_SERVED,
            "none of PyTorch's own",
        ),
        (
            {"modules.json": modules("Transformer", package="custom_st")},
            Code.CANNOT_BE_SERVED,
            "served are",
        ),
        (
            {"modules.json": [{"path": "..", "type": "sentence_transformers.models.Transformer"}]},
            Code.CANNOT_BE_SERVED,
            "outside",
        ),
        (
            {"modules.json": modules(*STEPS), "1_Pooling/config.json": {"pooling_mode": "magic"}},
            Code.CANNOT_BE_SERVED,
            "'magic' is not known",
        ),
    ],
)
def test_what_cannot_be_trusted_or_computed_is_refused(
    tmp_path: Path, files: dict[str, Any], code: Code, words: str
) -> None:
    with pytest.raises(LoadError, match=words) as refusal:
        read_sentence_model(make(tmp_path / "model", files))
    assert refusal.value.code is code


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="does not exist"):
        read_sentence_model(tmp_path / "none")
