"""A first answer in a fresh interpreter, by the library alone: what a cold start is beside.

`python -m modelmora.bench.fresh KIND FOLDER`. It imports what a user of the library would.
"""

from __future__ import annotations

import io
import os
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WORD = "hello"
LABELS = ("hello", "[UNK]")
PICTURE = b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwj"
    b"WgAAmZAAoFDIQrAAAAAASUVORK5CYII="
)
"""Grey, 16 x 16."""


def _network(kind: str, folder: Path) -> Any:
    import transformers

    return getattr(transformers, kind).from_pretrained(folder).eval()


def _tokens(folder: Path, *texts: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(*([text] for text in texts), return_tensors="pt")


def _pixels(folder: Path) -> Any:
    from PIL import Image
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    image = Image.open(io.BytesIO(PICTURE)).convert("RGB")
    return AutoImageProcessor.from_pretrained(folder, backend="pil")(image, return_tensors="pt")


def embedding(folder: Path) -> None:
    """AutoModel and its mean."""
    _network("AutoModel", folder)(**_tokens(folder, WORD)).last_hidden_state.mean(1)


def library(folder: Path) -> None:
    """Sentence Transformers."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), device="cpu").encode([WORD])


def classes(folder: Path) -> None:
    """AutoModelForSequenceClassification."""
    _network("AutoModelForSequenceClassification", folder)(**_tokens(folder, WORD))


def images(folder: Path) -> None:
    """AutoModelForImageClassification."""
    _network("AutoModelForImageClassification", folder)(**_pixels(folder))


def zero_shot(folder: Path) -> None:
    """CLIP on an image and two labels."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)([*LABELS], return_tensors="pt")
    words.pop("token_type_ids", None)
    _network("CLIPModel", folder)(**words, **_pixels(folder))


def vectors(folder: Path) -> None:
    """CLIP on an image."""
    _network("CLIPModel", folder).get_image_features(**_pixels(folder))


def rerank(folder: Path) -> None:
    """A cross-encoder."""
    _network("AutoModelForSequenceClassification", folder)(**_tokens(folder, WORD, WORD))


def captions(folder: Path) -> None:
    """One token on an image."""
    from transformers import AutoTokenizer

    answer = _network("AutoModelForCausalLM", folder).generate(**_pixels(folder), max_new_tokens=1)
    AutoTokenizer.from_pretrained(folder).batch_decode(answer)


def drawing(folder: Path) -> None:
    """One step of a pipeline."""
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline.from_pretrained(folder)(WORD, num_inference_steps=1)


def tensor(folder: Path) -> None:
    """A session of ONNX Runtime."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    session.run(None, {"x": np.ones((1, 3), np.float32)})


def text(folder: Path) -> None:
    """One token of a causal model."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)(WORD, return_tensors="pt")
    words.pop("token_type_ids", None)
    _network("AutoModelForCausalLM", folder).generate(**words, max_new_tokens=1, do_sample=False)


def gguf(file: Path) -> None:
    """One token of llama.cpp."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.verbosity = 512, -1
    server = xllamacpp.Server(params)
    server.handle_completions({"prompt": WORD, "max_tokens": 1})


KINDS: Mapping[str, Callable[[Path], None]] = {
    "embedding": embedding,
    "library": library,
    "classes": classes,
    "images": images,
    "zero-shot": zero_shot,
    "vectors": vectors,
    "rerank": rerank,
    "captions": captions,
    "drawing": drawing,
    "tensor": tensor,
    "text": text,
    "gguf": gguf,
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]))
    os._exit(0)  # llama.cpp's threads need not be waited for
