"""A model with an adapter computes what PEFT's own merged model does, or is not loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from modelmora.engines import CATALOG
from modelmora.engines.adapters import ADAPTER, read_adapter, with_adapter
from modelmora.engines.base import LoadError, make_engine
from modelmora.engines.entries import class_of
from modelmora.engines.folders import model_files
from modelmora.engines.sentences.sentence import LIBRARY
from modelmora.messages import Content
from tests.tiny_adapters import make_adapter, merged
from tests.tiny_classifiers import make_tiny_kind, picture
from tests.tiny_models import make_tiny
from tests.tiny_steps import make_steps
from tests.tiny_texts import make_tiny_gguf, make_tiny_text, write_lora
from tests.unit.engines.engine_rig import answers, batch_engine, numbers
from tests.unit.engines.text.rig import plain, text

TEXTS = ["river", "a queue", "river river queue a"]
PROMPTS = ["the", "a b c", "<x"]


def auto(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A text model and an adapter."""
    folder = tmp_path_factory.mktemp("story")
    base = make_tiny_text(folder / "base")
    own = auto("AutoModelForCausalLM")
    return base, make_adapter(
        folder / "adapter", own, base, "q_proj", "down_proj", task_type="CAUSAL_LM", use_rslora=True
    )


def texts_of(base: Path, adapter: Path | None) -> list[str]:
    from modelmora.engines.text.transformer import Transformer

    engine = Transformer()
    engine.load(base, {"device": "cpu", ADAPTER: adapter and str(adapter)})
    return [text(engine, plain(prompt, max_tokens=12)) for prompt in PROMPTS]


def test_a_text_model_says_what_the_merged_one_does(story: tuple[Path, Path]) -> None:
    base, adapter = story
    own = auto("AutoModelForCausalLM")
    tokenizer = auto("AutoTokenizer").from_pretrained(str(base))
    model = merged(own, base, adapter)
    said = texts_of(base, adapter)
    for prompt, answer in zip(PROMPTS, said, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        made = model.generate(**ids, do_sample=False, max_new_tokens=12, pad_token_id=0)[0]
        told = tokenizer.decode(made[ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == told
    assert said != texts_of(base, None)


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "orthogonal"])
def test_beginnings_that_leave_the_base_alone_are_taken(
    story: tuple[Path, Path], tmp_path: Path, init: object
) -> None:
    adapter = edited(story[1], tmp_path / "a", init_lora_weights=init, loftq_config={})
    assert texts_of(story[0], adapter) == texts_of(*story)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")  # of what is made here on purpose
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_a_tuned_head_leaves_the_embeddings_it_shares(
    story: tuple[Path, Path], tmp_path: Path, target: str, *, tied: bool
) -> None:
    import torch
    from peft import PeftModel

    from modelmora.engines.loading import tuned

    own = auto("AutoModelForCausalLM")
    base = tmp_path / "base"
    model = own.from_pretrained(str(story[0]))
    model.config.tie_word_embeddings = tied
    model.tie_weights()
    model.save_pretrained(str(base))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    adapter = make_adapter(tmp_path / "a", own, base, target, "q_proj", task_type="CAUSAL_LM")
    ids = torch.arange(3, 40)[None]
    apart = PeftModel.from_pretrained(own.from_pretrained(str(base)), str(adapter)).eval()
    bare = tmp_path / "bare"
    apart.save_pretrained(str(bare), save_embedding_layers=False)
    with torch.no_grad():
        told = apart(ids).logits
        for place in (adapter, bare):
            model = tuned(own.from_pretrained(str(base)), {ADAPTER: str(place)})
            torch.testing.assert_close(model(ids).logits, told, atol=1e-2, rtol=1e-3)


def outputs(
    engine: str, task: str, base: Path, adapter: Path | None, inputs: Sequence[Content]
) -> np.ndarray[Any, Any]:
    made = batch_engine(engine)
    made.load(base, {"device": "cpu", ADAPTER: adapter and str(adapter)})
    (answer,) = answers(made, task, inputs)
    assert not isinstance(answer, Exception), answer
    return numbers(answer[0], answer[0].name)  # type: ignore[union-attr,arg-type]


KINDS: dict[str, tuple[str, str, Sequence[Content], str | None]] = {
    "text": ("classify", "AutoModelForSequenceClassification", TEXTS, "SEQ_CLS"),
    "image": ("classify", "AutoModelForImageClassification", [picture(), picture(seed=7)], None),
    "reranker": ("rerank", "AutoModelForSequenceClassification", TEXTS, "SEQ_CLS"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_classifiers_are_changed_as_the_merged_ones(kind: str, tmp_path: Path) -> None:
    task, name, inputs, task_type = KINDS[kind]
    base = make_tiny_kind(tmp_path / "base", kind)
    targets = ("q_proj", "fc1") if kind == "image" else ("query", "value")
    kept = {"task_type": task_type, "modules_to_save": ["classifier"]}
    adapter = make_adapter(tmp_path / "a", auto(name), base, *targets, **kept)
    whole = tmp_path / "whole"
    copytree(base, whole)
    merged(auto(name), base, adapter).save_pretrained(str(whole))
    entry = CATALOG[task]
    assert entry.read is not None
    engine = class_of(entry, None, entry.read(base))
    assert engine in entry.adapters
    got = outputs(engine, task, base, adapter, inputs)
    np.testing.assert_allclose(got, outputs(engine, task, whole, None, inputs), atol=1e-5)
    assert np.abs(got - outputs(engine, task, base, None, inputs)).max() > 1e-3


@pytest.mark.parametrize("engine", [CATALOG["txt2embed"].engine, LIBRARY])
def test_sentence_models_are_changed_as_the_merged_ones(engine: str, tmp_path: Path) -> None:
    base = make_steps("dense") if engine == LIBRARY else make_tiny(tmp_path / "base")
    adapter = make_adapter(tmp_path / "a", auto("AutoModel"), base, "query", "dense", bias="all")
    whole = tmp_path / "whole"
    copytree(base, whole)
    merged(auto("AutoModel"), base, adapter).save_pretrained(str(whole))
    got = outputs(engine, "txt2embed", base, adapter, TEXTS)
    np.testing.assert_allclose(got, outputs(engine, "txt2embed", whole, None, TEXTS), atol=1e-5)
    assert np.abs(got - outputs(engine, "txt2embed", base, None, TEXTS)).max() > 1e-2


def test_a_gguf_is_changed_as_by_a_request_that_names_the_adapter(tmp_path: Path) -> None:
    base, folder = make_tiny_gguf(tmp_path / "base"), make_tiny_gguf(tmp_path / "m")
    write_lora(folder / "loras" / "pirate.gguf")
    adapter = folder / "loras" / "pirate.gguf"
    own = make_engine("modelmora.engines.text.gguf:Gguf")
    own.load(base, {ADAPTER: str(adapter)})
    asked = make_engine("modelmora.engines.text.gguf:Gguf")
    asked.load(folder, {})
    plainly = plain("the", max_tokens=12)
    said = text(own, plainly)  # type: ignore[arg-type]
    assert said == text(asked, plain("the", max_tokens=12, loras=("pirate",)))  # type: ignore[arg-type]
    assert said != text(asked, plainly)  # type: ignore[arg-type]


def edited(adapter: Path, folder: Path, **config: Any) -> Path:
    copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "IA3"}, "served is LORA"),
        ({"peft_type": None}, "served is LORA"),
        ({"auto_mapping": {"parent_library": "os"}}, "never run"),
        ({"auto_mapping": ["os"]}, "never run"),
        *(
            ({"init_lora_weights": init}, f"changed base .*{init}.*plain LoRA")
            for init in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga")
        ),
        ({"loftq_config": {"loftq_bits": 4}}, "`loftq_config`, which is not served"),
        ({"ensure_weight_tying": True}, "`ensure_weight_tying`, which is not served"),
        ({"layer_replication": [[0, 2]]}, "`layer_replication`, which is not served"),
        ({"something_new": {"x": 1}}, "`something_new`, which is not served"),
        ({"r": "8"}, "`r` that is none"),
        ({"r": True}, "`r` that is none"),
        ({"r": 0}, "rank `r`"),
        ({"r": -1}, "-1, that its tensors lack"),
        ({"r": 1 << 14}, "16384, that its tensors lack"),
        ({"rank_pattern": {"q_proj": 1 << 40}}, "that its tensors lack"),
        ({"rank_pattern": {"q_proj": [4]}}, "that its tensors lack"),
        ({"target_modules": []}, "`target_modules`"),
        ({"rank_pattern": 3}, "`rank_pattern` that is none"),
    ],
)
def test_what_is_no_lora_is_refused_unseen(
    story: tuple[Path, Path], tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LoadError, match=reason):
        read_adapter(edited(story[1], tmp_path / "a", **config))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 3}, "of another shape"),
        ({"target_modules": ["q_proj"]}, "that fit nothing in the model"),
        ({"target_modules": ["q_proj", "down_proj", "k_proj"]}, "lacks"),
        ({"target_modules": ["nothing"]}, "its adapter cannot be read"),
        ({"target_modules": "("}, "its adapter cannot be read"),
    ],
)
def test_one_that_does_not_fit_its_base_is_not_loaded(
    story: tuple[Path, Path], tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    base, adapter = story
    with pytest.raises(LoadError, match=reason):
        texts_of(base, edited(adapter, tmp_path / "a", **config))


def test_pickles_and_other_forms_are_refused(story: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = story
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(LoadError, match="pickled"):
        read_adapter(pickled)
    with pytest.raises(LoadError, match="an adapter is"):
        read_adapter(base)
    gguf = make_tiny_gguf(tmp_path / "gguf")
    with pytest.raises(LoadError, match="is no LoRA"):
        read_adapter(gguf)
    read = CATALOG["txt2txt"].read
    assert read is not None
    with pytest.raises(LoadError, match=r"changes \*.safetensors weights"):
        with_adapter(read(gguf), gguf, adapter)
    write_lora(tmp_path / "other" / "a.gguf")
    with pytest.raises(LoadError, match=r"changes \*.gguf weights"):
        with_adapter(read(base), base, tmp_path / "other")
    cut = edited(adapter, tmp_path / "cut")
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(LoadError, match="copy it again"):
        read_adapter(cut)


def test_an_adapter_inside_of_a_model_is_not_followed(
    story: tuple[Path, Path], tmp_path: Path
) -> None:
    """transformers would load the model that it names in place of this one."""
    base, adapter = story
    both = tmp_path / "both"
    copytree(base, both)
    copytree(adapter, both, dirs_exist_ok=True)
    read = CATALOG["txt2txt"].read
    assert read is not None
    with pytest.raises(LoadError, match="--adapter"):
        read(both)
    with pytest.raises(LoadError, match="--adapter"):
        texts_of(both, None)


def test_a_graph_takes_no_adapter(tmp_path: Path, story: tuple[Path, Path]) -> None:
    base = make_tiny(tmp_path / "base")
    made = batch_engine(CATALOG["txt2embed"].engine)
    with pytest.raises(LoadError, match="`form` is onnx"):
        made.load(base, {"device": "cpu", "form": "onnx", ADAPTER: str(story[1])})


def test_what_training_left_beside_it_is_not_taken(
    story: tuple[Path, Path], tmp_path: Path
) -> None:
    from modelmora.engines.adapters import adapter_files

    full = edited(story[1], tmp_path / "a")
    (full / "training_args.bin").write_bytes(b"\x80\x04.")
    (full / "checkpoint-1").mkdir()
    (full / "checkpoint-1" / "adapter_model.safetensors").write_bytes(b"x")
    assert adapter_files(full) == ("adapter_config.json", "adapter_model.safetensors")
    assert len(model_files(full)) == 3
