"""API keys: made, recognised, rotated, and their files."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.access.files import KeyFile, Keyring, keyring_of
from modelmora.access.keys import TEXT, Key, Keys, ending, made, recognised, revoked
from modelmora.errors import ConfigurationError, Invalid, NotFound
from modelmora.settings import AccessSettings, Settings

PEPPER = b"pepper"


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile.of(Settings(data_dir=tmp_path / "data"))


def add(file: KeyFile, principal: str, expires_at: int | None = None) -> str:
    texts = []

    def decide(keys: Keys, pepper: bytes) -> Keys:
        text, key = made(keys, principal, pepper, 0, expires_at)
        texts.append(text)
        return (*keys, key)

    file.change(decide)
    return texts[0]


def test_a_key_is_known_by_its_whole_text_and_the_pepper() -> None:
    text, key = made((), "alice", PEPPER, 5, 9)
    assert TEXT.fullmatch(text)
    assert recognised({key.id: key}, text, PEPPER) == key
    other = text[:-1] + ("0" if text[-1] != "0" else "1")
    for wrong in ("", "mm_", text + "0", text.upper(), other, f" {text}", text.replace("mm", "xx")):
        assert recognised({key.id: key}, wrong, PEPPER) is None
    assert recognised({key.id: key}, text, b"salt") is None
    assert recognised({"00000000": replace(key, id="00000000")}, text, PEPPER) is None
    assert text.rpartition("_")[2] not in repr(key)
    assert [key.expired(now) for now in (8, 9, 10)] == [False, True, True]


@pytest.mark.parametrize("principal", ["", "local", "two words", "x" * 65, "a\nb", "-a", "ü"])
def test_what_is_no_principal(principal: str) -> None:
    with pytest.raises(Invalid):
        made((), principal, PEPPER, 0)


def test_two_keys_of_one_principal_hold_until_one_is_revoked() -> None:
    (_, old), (_, new) = made((), "alice", PEPPER, 0, 100), made((), "alice", PEPPER, 0)
    keys = ending((old, new), old.id, 50)
    assert [key.expires_at for key in keys] == [50, None]
    assert [key.expires_at for key in ending(keys, old.id, 70)] == [50, None]
    assert revoked(keys, old.id) == (new,)
    for gone in (revoked, lambda keys, key_id: ending(keys, key_id, 1)):
        with pytest.raises(NotFound):
            gone(keys, "ffffffff")


def test_files_are_their_owners_alone_and_hold_no_key(file: KeyFile) -> None:
    secret = add(file, "alice").rpartition("_")[2]
    for path in (file.path, file.pepper_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert secret not in path.read_text()
    assert [key.principal for key in file.read()] == ["alice"]


def test_writers_at_once_lose_nothing(file: KeyFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda n: add(file, f"p{n}"), range(24)))
    ring = Keyring(file)
    found = [ring.recognise(text) for text in texts]
    assert [key and key.principal for key in found] == [f"p{n}" for n in range(24)]


def test_changes_hold_at_once(file: KeyFile) -> None:
    first = add(file, "alice")
    ring = Keyring(file)
    second = add(file, "bob")
    assert ring.recognise(first)
    assert ring.recognise(second)
    file.change(lambda keys, _: keys[1:])
    assert ring.recognise(first) is None
    assert ring.recognise(second)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"keys": 1}', b'{"keys": [{"id": "x"}]}', b"\xff" * 100, None],
)
def test_what_cannot_be_read_changes_nothing(file: KeyFile, content: bytes | None) -> None:
    text = add(file, "alice")
    ring = Keyring(file)
    if content is None:
        file.path.unlink()
    else:
        file.path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="is no file of keys"):
            Keyring(file)
    assert ring.recognise(text)
    file.path.write_text('{"keys": []}')
    assert ring.recognise(text) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires", 5),
        ("expires_at", "soon"),
        ("principal", "a\r\nb"),
        ("digest", "00"),
        ("id", "0"),
    ],
)
def test_a_mistake_in_a_key_is_told_without_the_value(
    file: KeyFile, field: str, value: object
) -> None:
    add(file, "alice")
    content = json.loads(file.path.read_text())
    content["keys"][0][field] = value
    file.path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=rf"keys\.0\.{field}") as caught:
        file.read()
    assert "soon" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_pepper_is_made_once_and_missed_when_gone(file: KeyFile, tmp_path: Path) -> None:
    text = add(file, "alice")
    pepper = file.pepper()
    add(file, "bob")
    assert file.pepper() == pepper
    file.pepper_path.unlink()
    for using in (lambda: Keyring(file), lambda: add(file, "carol")):
        with pytest.raises(ConfigurationError, match="pepper"):
            using()
    access = AccessSettings(pepper=pepper.decode())
    given = KeyFile.of(Settings(data_dir=tmp_path / "data", access=access))
    assert Keyring(given).recognise(text)
    assert "pepper" not in repr(access) or pepper.decode() not in repr(access)


@pytest.mark.parametrize(
    ("host", "callers", "needed"),
    [
        ("127.0.0.1", "auto", False),
        ("127.1.2.3", "auto", False),
        ("::1", "auto", False),
        ("localhost", "auto", False),
        ("0.0.0.0", "auto", True),
        ("::", "auto", True),
        ("10.0.0.1", "auto", True),
        ("my-machine", "auto", True),
        ("0.0.0.0", "anyone", False),
        ("127.0.0.1", "keys", True),
    ],
)
def test_who_needs_keys(host: str, callers: str, needed: bool, file: KeyFile) -> None:
    settings = Settings(
        host=host,
        data_dir=file.path.parent,
        access=AccessSettings.model_validate({"callers": callers}),
    )
    if needed:
        with pytest.raises(ConfigurationError, match="modelmora keys create") as caught:
            keyring_of(settings)
        assert caught.value.exit_code == 2
    add(file, "alice")
    assert (keyring_of(settings) is not None) is needed


def test_a_key_that_was_edited_by_hand_is_read(file: KeyFile) -> None:
    text = add(file, "alice")
    content = json.loads(file.path.read_text())
    content["keys"][0]["principal"] = "team@example.org"
    file.path.write_text(json.dumps(content))
    key = Keyring(file).recognise(text)
    assert isinstance(key, Key)
    assert key.principal == "team@example.org"
