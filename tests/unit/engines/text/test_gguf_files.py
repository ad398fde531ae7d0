"""The header of a GGUF file, read without a model library; liars are refused."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelmora.engines.base import LoadError
from modelmora.engines.text.files import GGUF_ENGINE, read_files, read_gguf_model, room_for
from modelmora.engines.text.gguf_files import BLOCKS, read_gguf
from tests.tiny_texts import CONTEXT, write_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(path, tokenizer__chat_template="{{ messages }}")


def test_every_type_of_ggml_has_its_size() -> None:
    assert {kind.value: sizes for kind, sizes in GGML_QUANT_SIZES.items()}.items() <= BLOCKS.items()


def test_a_header_tells_what_the_writer_wrote(tiny: Path) -> None:
    header = read_gguf(tiny)
    assert header.architecture == "llama"
    assert header.number("context_length") == CONTEXT
    assert header.values["tokenizer.chat_template"] == "{{ messages }}"
    assert header.lengths["tokenizer.ggml.tokens"] > 256
    assert header.bytes == tiny.stat().st_size


def test_a_folder_is_one_model_with_its_adapters_and_projector(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "loras").mkdir(parents=True)
    (folder / "tiny.gguf").write_bytes(tiny.read_bytes())
    write_gguf(folder / "loras" / "pirate.gguf", general__type="adapter")
    model = read_gguf_model(folder)
    assert (model.path.name, [*model.adapters], model.projector) == ("tiny.gguf", ["pirate"], None)
    files = read_files(folder)
    assert files.engine == GGUF_ENGINE
    assert files.facts["context_length"] == CONTEXT
    assert read_files(folder / "tiny.gguf").weight_bytes == files.weight_bytes
    (folder / "other.gguf").write_bytes(tiny.read_bytes())
    with pytest.raises(LoadError, match="2 GGUF models"):
        read_files(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-40], "should have"),
        (lambda b: b[:300], "cut off"),
        (lambda b: b"", "no GGUF file"),
        (lambda b: b"PK\x03\x04" + b[4:], "no GGUF file"),
        (lambda b: b[:4] + struct.pack("<I", 1) + b[8:], "version 1"),
        (lambda b: b[:8] + struct.pack("<Q", 1 << 60) + b[16:], "cannot be read"),
        (lambda b: b[:16] + struct.pack("<Q", 1 << 60) + b[24:], "cannot be read"),
        (lambda b: b[:24] + struct.pack("<Q", 1 << 62) + b[32:], "cannot be read"),
    ],
    ids=["short", "header", "empty", "zip", "version", "tensors", "keys", "string"],
)
def test_a_file_that_is_cut_or_lies_is_refused(
    tiny: Path, tmp_path: Path, change: object, words: str
) -> None:
    assert callable(change)
    (tmp_path / "m.gguf").write_bytes(change(tiny.read_bytes()))
    with pytest.raises(LoadError, match=words):
        read_files(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 3000), byte=st.integers(0, 255))
def test_any_other_byte_is_read_or_refused(
    tiny: Path, tmp_path: Path, place: int, byte: int
) -> None:
    content = bytearray(tiny.read_bytes())
    content[place] = byte
    (tmp_path / "m.gguf").write_bytes(content)
    with suppress(LoadError):
        read_files(tmp_path)


def test_layers_beyond_all_reason_take_no_memory(tiny: Path, tmp_path: Path) -> None:
    """They took 8 bytes each, when only their number is wanted."""
    content = tiny.read_bytes()
    key = b"llama.block_count" + struct.pack("<I", 4)
    place = content.index(key) + len(key)
    lying = content[:place] + struct.pack("<I", 0x7FFFFFFF) + content[place + 4 :]
    (tmp_path / "m.gguf").write_bytes(lying)
    tracemalloc.start()
    read_files(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_missing_part_is_told(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(tiny.read_bytes())
    with pytest.raises(LoadError, match="parts"):
        read_files(tmp_path)


def test_the_cache_is_no_larger_than_can_be_used() -> None:
    assert room_for(128, 100, 1).pool == 16 * 128
    large = room_for(131_072, 131_072, 4 << 30)
    assert large.context == large.pool == (2 << 30) // 131_072
    assert room_for(8192, 1 << 30, 1).pool == 256
