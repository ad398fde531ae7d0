"""Text models alone, in a process of its own: the engines beside the libraries they stand on.

`python -m modelmora.bench.texts KIND [FOLDER]`, where KIND is `tensors` (a Llama of 40
million random weights, made on the spot), `gguf` (the engine) or `llama` (llama.cpp without it).
Reads `WHO STREAMS TOKENS` from each line, computes so many answers of so many tokens at once, and
prints tokens a second.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from modelmora.engines.base import SteppedEngine
from modelmora.messages import InferenceRequest

SIZES = {
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
UNKNOWN = "w0"
PROMPT_TOKENS = 24
SLOTS = 16
Rate = Callable[[int, int], float]


def prompts(streams: int) -> list[str]:
    """Each of other words, equally long."""
    words = range(3, SIZES["vocab_size"], 41)
    return [
        " ".join(
            f"w{words[(each * 97 + place * 31) % len(words)]}" for place in range(PROMPT_TOKENS)
        )
        for each in range(streams)
    ]


def questions(streams: int) -> list[str]:
    """Of a few tokens each, as a small model on a CPU reads prompts slowly."""
    return [f"The number {each} is" for each in range(streams)]


def stepped(engine: SteppedEngine, texts: Sequence[str], tokens: int) -> float:
    """Tokens a second of an engine that answers all these prompts at once."""
    asked = {"template": False, "temperature": 0, "max_tokens": tokens}
    began = time.perf_counter()
    for key, text in enumerate(texts):
        engine.add(key, InferenceRequest("r", "m", (text,)), asked)
    ended = computed = 0
    while ended < len(texts):
        for step in engine.step():
            if step.error is not None:
                raise step.error
            if step.outputs is not None:
                ended += 1
                computed += int(str(step.settings["completion_tokens"]))
    return computed / (time.perf_counter() - began)


def tensors(folder: Path, threads: int) -> Mapping[str, Rate]:
    """`generate` of transformers, and the engine."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from modelmora.engines.text.transformer import Transformer

    _make(folder)
    torch.set_num_threads(threads)
    engine = Transformer()
    engine.load(folder, {"device": "cpu"})
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def generate(streams: int, tokens: int) -> float:
        began = time.perf_counter()
        inputs = tokenizer(prompts(streams), return_tensors="pt")
        with torch.inference_mode():
            answer = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        tokenizer.batch_decode(answer[:, PROMPT_TOKENS:])
        return streams * tokens / (time.perf_counter() - began)

    return {
        "generate": generate,
        "engine": lambda streams, tokens: stepped(engine, prompts(streams), tokens),
    }


def _make(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from modelmora.bench.models import tokenizer

    words = {f"w{number}": number for number in range(SIZES["vocab_size"])}
    tokenizer(words, UNKNOWN, UNKNOWN, padding_side="left").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)


def gguf(folder: Path, threads: int) -> Mapping[str, Rate]:
    """The engine."""
    from modelmora.engines.text.gguf import Gguf

    engine = Gguf()
    engine.load(folder, {})
    engine.use_threads(threads)
    return {"engine": lambda streams, tokens: stepped(engine, questions(streams), tokens)}


def started(folder: Path, threads: int, slots: int = SLOTS) -> Any:
    """llama.cpp by xllamacpp, as its own documentation uses it."""
    import xllamacpp

    from modelmora.engines.text.files import read_gguf_model

    params = xllamacpp.CommonParams()
    params.model.path = str(read_gguf_model(folder).path)
    params.n_parallel, params.n_ctx = slots, slots * 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    return xllamacpp.Server(params)


def llama(folder: Path, threads: int) -> Mapping[str, Rate]:
    """The same, asked from a thread each."""
    server = started(folder, threads)

    def rate(streams: int, tokens: int) -> float:
        answers: list[Any] = []

        def ask(prompt: str) -> None:
            body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "cache_prompt": False}
            answers.append(server.handle_completions(body))

        began = time.perf_counter()
        asking = [Thread(target=ask, args=(prompt,)) for prompt in questions(streams)]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        seconds = time.perf_counter() - began
        computed = sum(int(answer["usage"]["completion_tokens"]) for answer in answers)
        return computed / seconds

    return {"llama": rate}


def main(arguments: Sequence[str]) -> None:
    """Answer until the input ends."""
    kind, *folders = arguments
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as in a node's children; before OpenMP is loaded
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as made:
        kinds = {"tensors": tensors, "gguf": gguf, "llama": llama}
        rates = kinds[kind](Path(folders[0] if folders else made), threads)
        for line in sys.stdin:
            who, *counts = line.split()
            sys.stdout.write(json.dumps(rates[who](*map(int, counts))) + "\n")
            sys.stdout.flush()
    os._exit(0)  # llama.cpp's threads need not be waited for


if __name__ == "__main__":
    main(sys.argv[1:])
