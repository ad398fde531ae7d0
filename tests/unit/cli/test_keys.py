"""`modelmora keys` for people and programs, and where a key must never be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.access.files import KeyFile, Keyring
from modelmora.access.signing import key_text
from modelmora.audit.auditor import user
from modelmora.audit.pending import Pending
from modelmora.settings import Settings
from tests.unit.cli.runs import Cli

DATA = Path(".modelmora")


def file() -> KeyFile:
    return KeyFile.of(Settings(data_dir=DATA))


def test_a_key_is_shown_once(cli: Cli) -> None:
    ran = cli("keys", "create", "alice", "--expires", "90d")
    text = ran.out.strip()
    key = Keyring(file()).recognise(text)
    assert key
    assert key.principal == "alice"
    assert key.expires_at == pytest.approx(key.created_at + 90 * 86_400_000, abs=60_000)
    assert len(text) <= 80
    assert "shown this once" in ran.err
    secret = text.rpartition("_")[2]
    for verb in (("keys", "list"), ("keys", "list", "--json"), ("config", "show")):
        told = cli(*verb)
        assert secret not in told.out + told.err
    assert max(map(len, cli("keys", "list").out.splitlines())) <= 80


def test_rotation_overlaps_and_revocation_does_not(cli: Cli) -> None:
    old = cli("keys", "create", "alice", "--json").json
    assert (old["principal"], old["expires_at"], old["expired"]) == ("alice", None, False)
    new = cli("keys", "rotate", old["id"], "--overlap", "1h", "--json").json
    ring = Keyring(file())
    assert [ring.recognise(each["key"]) is not None for each in (old, new)] == [True, True]
    told = {each["id"]: each for each in cli("keys", "list", "--json").json}
    assert told[old["id"]]["expires_at"]
    assert told[new["id"]]["principal"] == "alice"
    assert cli("keys", "revoke", old["id"]).code == 0
    assert ring.recognise(old["key"]) is None
    assert ring.recognise(new["key"])
    cli("keys", "rotate", new["id"], "--overlap", "0s")
    assert "expired" in cli("keys", "list").out


def test_a_key_to_sign_with_is_made_of_the_clusters_secret(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "set access.cluster_secret_file" in cli("keys", "signing", "alice").err
    secret = "s" * 32
    monkeypatch.setenv("MODELMORA_ACCESS__CLUSTER_SECRET", secret)
    ran = cli("keys", "signing", "alice")
    assert ran.out.strip() == key_text(secret.encode(), "alice")
    assert secret not in ran.out + ran.err + cli("config", "show").out
    told = cli("keys", "signing", "alice", "--json").json
    assert told == {"principal": "alice", "signing_key": ran.out.strip()}
    assert cli("keys", "signing", "topic:alice").code == 2
    monkeypatch.setenv("MODELMORA_ACCESS__CLUSTER_SECRET", "short")
    ran = cli("keys", "signing", "alice")
    assert (ran.code, ran.out) == (2, "")
    assert "32 characters" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("create", "two words"), 2, "principal"),
        (("create", "local"), 2, "without a key"),
        (("create", "alice", "--expires", "soon"), 2, "such as 90d"),
        (("create", "alice", "--expires", "99999w"), 2, "such as 90d"),
        (("revoke", "00000000"), 3, "keys list"),
        (("rotate", "00000000"), 3, "keys list"),
    ],
)
def test_what_cannot_be_done(cli: Cli, arguments: tuple[str, ...], code: int, told: str) -> None:
    ran = cli("keys", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not file().read()


def test_secrets_of_the_settings_stay_hidden(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PEPPER", "KEY"):
        monkeypatch.setenv(f"MODELMORA_ACCESS__{name}", "canary")
    for verb in (("config", "show"), ("config", "show", "--json"), ("keys", "create", "alice")):
        ran = cli(*verb)
        assert ran.code == 0
        assert "canary" not in ran.out + ran.err
    assert not file().pepper_path.exists()


def test_what_is_done_with_keys_waits_to_be_told_without_their_secrets(cli: Cli) -> None:
    key = cli("keys", "create", "alice", "--json").json
    new = cli("keys", "rotate", key["id"], "--json").json
    cli("keys", "revoke", key["id"])
    pending = Pending(Settings(data_dir=DATA))
    told, _ = pending.read()
    assert [(each.verb, each.reason, each.allowed) for each in told] == [
        ("keys create", f"key {key['id']} of alice", True),
        ("keys rotate", f"key {new['id']} of alice in place of {key['id']}", True),
        ("keys revoke", f"key {key['id']} of alice", True),
    ]
    assert {each.principal for each in told} == {user()}
    content = pending.path.read_text()
    for each in (key, new):
        assert each["key"].rpartition("_")[2] not in content
