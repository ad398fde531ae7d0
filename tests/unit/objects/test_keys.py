"""Names, signatures and media types of objects."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import ChatMessage, Content, Tensor
from modelmora.objects import Bad, Key, content_of, owner_of, stored_form
from modelmora.objects.contents import TENSOR
from modelmora.objects.keys import HOUR_MS, key_of
from modelmora.objects.moving import too_many_bytes
from modelmora.objects.signing import Grant, read_grant

SHA = "a" * 64
NAME = f"500000/{'0' * 16}/{SHA}"
texts = st.text(st.characters(codec="utf-8"))


@given(st.integers(10**12, 10**13), texts)
def test_an_object_outlives_its_reference(expires_at: int, principal: str) -> None:
    key = key_of(SHA, principal, expires_at)
    assert expires_at < key.ends_ms <= expires_at + HOUR_MS
    assert Key.read(key.name) == key
    assert key.owner == owner_of(principal)


@pytest.mark.parametrize(
    "name",
    ["", "../key", NAME + "/..", NAME + "\n", f"x/{NAME}", NAME.upper(), "key", "in/a"],
)
def test_other_names_are_no_names(name: str) -> None:
    assert Key.read(name) is None


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


@given(texts, st.integers(0, 10**9), st.integers(10**12, 10**13), st.binary(min_size=1))
def test_a_url_grants_what_it_was_signed_for(
    media: str, size: int, until: int, secret: bytes
) -> None:
    grant = Grant("GET", NAME, media, size, until)
    query = query_of(grant.signed(secret))
    assert read_grant("GET", NAME, query, secret, until - 1) == grant
    assert read_grant("GET", NAME, query, secret, until) is None
    assert read_grant("PUT", NAME, query, secret, until - 1) is None
    assert read_grant("GET", NAME[:-1] + "b", query, secret, until - 1) is None
    assert read_grant("GET", NAME, query, secret + b"x", until - 1) is None
    for field, other in (("type", media + "x"), ("size", f"{size}1"), ("until", f"{until}1")):
        assert read_grant("GET", NAME, {**query, field: other}, secret, until - 1) is None


@given(st.dictionaries(st.sampled_from(["type", "size", "until", "signature"]), texts))
def test_no_query_is_an_error(query: dict[str, str]) -> None:
    assert read_grant("GET", NAME, query, b"secret", 0) is None


contents: st.SearchStrategy[Content] = (
    texts
    | st.binary()
    | st.builds(
        lambda name, rows: Tensor(name, "INT16", (rows, 2), bytes(4 * rows)),
        texts,
        st.integers(0, 5),
    )
    | st.builds(lambda name: Tensor(name, "FP64", (), bytes(8)), texts)
)


@given(contents)
def test_a_content_is_itself_again(content: Content) -> None:
    form = stored_form(content)
    assert form
    data, media = form
    assert media.isascii()
    assert "\n" not in media
    assert content_of(data, media) == content


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (b"\xff", "text/plain"),
        (b"123", f'{TENSOR}; dtype=FP32; shape="1"'),
        (b"1234", f"{TENSOR}; dtype=FP32; shape=x"),
        (b"1234", TENSOR),
        (b"1234", f"{TENSOR}; dtype=FP99; shape=1"),
    ],
)
def test_what_is_not_what_its_type_says(data: bytes, media: str) -> None:
    with pytest.raises(Bad, match="media type"):
        content_of(data, media)


def test_other_types_are_bytes_and_a_turn_of_a_chat_is_no_object() -> None:
    assert content_of(b"{}", "application/json") == "{}"
    assert content_of(b"\xff", "image/png") == b"\xff"
    assert content_of(b"\xff", "") == b"\xff"
    assert stored_form(ChatMessage("user", "a")) is None


@given(st.lists(st.integers(0, 10_000_000), max_size=20), st.integers(0, 1_000_000))
def test_the_largest_go_and_no_more_than_needed(sizes: list[int], most: int) -> None:
    gone = too_many_bytes(sizes, most)
    left = [size for index, size in enumerate(sizes) if index not in gone]
    rest = sum(left) + 1024 * len(gone)
    assert rest <= most or all(size <= 1024 for size in left)
    if gone:
        last = min(sizes[index] for index in gone)
        assert rest + last - 1024 > most
        assert all(size <= last for size in left)
