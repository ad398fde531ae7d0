"""A signed record is its principal's, and nothing else passes for it, whatever its writer says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmora.access.secrets import cluster_signer_of, signer_of, signing_key_of, verifier_of
from modelmora.access.signing import MOST_APART_MS, Signer, Verifier, Whose, key_text
from modelmora.errors import ConfigurationError, Invalid
from modelmora.messages import ControlCommand, ControlVerb, Lane, RequestHead
from modelmora.settings import AccessSettings, Settings

OLD, NEW = b"o" * 32, b"n" * 32
HEAD = RequestHead("r1", "echo", timeout_ms=9000)
ALICE = (("modelmora-principal", b"alice"),)
CANCEL = ControlCommand(ControlVerb.CANCEL, "r1", "alice")
LOAD = ControlCommand(ControlVerb.LOAD, "echo", "alice")
NOW = 1_700_000_000_000
Headers = tuple[tuple[str, bytes | None], ...]


def digest(principal: str, what: str = "content") -> str:
    return f"{principal} {what}"


def signed(signer: Signer, headers: Headers = ALICE, head: RequestHead = HEAD) -> Headers:
    return (*headers, signer.request(headers, head, Lane.NORMAL, digest("alice")))


def read(
    headers: Headers,
    head: RequestHead = HEAD,
    lane: Lane = Lane.NORMAL,
    content: Callable[[str], str] = digest,
    secrets: tuple[bytes, ...] = (NEW,),
) -> Whose:
    return Verifier(secrets).of_request(headers, head, lane, content)


def test_what_is_signed_is_its_principals() -> None:
    assert read(signed(Signer(NEW))) == ("alice", False)


def test_without_secrets_everybody_is_who_they_say_they_are() -> None:
    assert read(ALICE, secrets=()) == ("alice", False)
    assert read((), secrets=()) == ("local", False)
    assert read((*ALICE, ("modelmora-signature", b"nonsense")), secrets=()) == ("alice", False)


@pytest.mark.parametrize(
    ("headers", "whose"),
    [
        (ALICE, "topic:alice"),
        ((), "topic:unknown"),
        ((("modelmora-principal", None),), "topic:unknown"),
        ((("modelmora-principal", b"local"),), "topic:local"),
        ((("modelmora-principal", b"topic:bob"),), "topic:bob"),
        ((("modelmora-principal", b"topic:"),), "topic:"),
        ((*ALICE, ("modelmora-principal", b"bob")), "topic:bob"),
        ((("modelmora-principal", b"\xff"),), "topic:�"),
        ((("modelmora-principal", b"a" * 999),), "topic:" + "a" * 250),
    ],
)
def test_who_signs_nothing_is_only_who_they_say(headers: Headers, whose: str) -> None:
    assert read(headers) == (whose, False)


def test_what_proves_nothing_is_the_same_principals_when_it_is_read_again() -> None:
    verifier = Verifier((NEW,))
    for name in (b"a" * 999, b"alice", b""):
        once = verifier.unproved((("modelmora-principal", name),))
        assert verifier.unproved((("modelmora-principal", once.encode()),)) == once


@pytest.mark.parametrize(
    "changed",
    [
        {"head": replace(HEAD, request_id="r2")},
        {"head": replace(HEAD, timeout_ms=1)},
        {"head": replace(HEAD, timeout_ms=None)},
        {"head": replace(HEAD, progress=True)},
        {"lane": Lane.CRITICAL},
        {"content": lambda principal: digest(principal, "other")},
        {"headers": (("modelmora-principal", b"bob"),)},
        {"headers": (("modelmora-principal", b"alice\x00"),)},
        {"headers": ()},
        {"headers": (*ALICE, ("modelmora-or-busy", None))},
        {"headers": (*ALICE, ("kafka_replyTopic", b"mine"))},
        {"headers": (*ALICE, ("x-cohort", b"beta"))},
    ],
)
def test_a_signature_holds_for_no_other_request(changed: dict[str, Any]) -> None:
    _, signature = signed(Signer(NEW))
    headers = (*changed.pop("headers", ALICE), signature)
    assert read(headers, **changed).forged
    assert read(headers, **changed).principal.startswith("topic:")


def test_what_is_signed_with_it_holds_with_headers_that_come_later() -> None:
    told = (("modelmora-or-busy", b""), ("kafka_replyTopic", b"t"), ("x-cohort", b"beta"))
    headers = signed(Signer(NEW), (*ALICE, *told))
    later = [("modelmora-reply-partition", b"3"), ("modelmora-job", b"1"), ("traceparent", b"00")]
    assert read((*headers, *later)) == ("alice", False)


@pytest.mark.parametrize("value", [b"", b"1 ", b"2 " + b"0" * 64, b"1 " + b"0" * 64, b"\xff", None])
def test_what_is_no_signature_is_refused_or_none(value: bytes | None) -> None:
    whose = read((*ALICE, ("modelmora-signature", value)))
    assert whose == ("topic:alice", value is not None)


def test_of_several_signatures_the_last_counts() -> None:
    wrong = ("modelmora-signature", b"1 " + b"0" * 64)
    assert read((wrong, *signed(Signer(NEW)))) == ("alice", False)
    assert read((*signed(Signer(NEW)), wrong)).forged


def test_fields_do_not_run_into_each_other() -> None:
    """A longer id and a shorter content are no other way to say the same."""
    one = Signer(NEW).request(ALICE, replace(HEAD, request_id="a"), Lane.NORMAL, "bc")
    other = Signer(NEW).request(ALICE, replace(HEAD, request_id="ab"), Lane.NORMAL, "c")
    assert one != other


def test_a_signer_shows_no_secret() -> None:
    for signer in (Signer(NEW), Signer.of_key(key_text(NEW, "alice"))):
        assert repr(signer) == "Signer()"


def test_secrets_overlap_while_they_are_changed() -> None:
    before, after = signed(Signer(OLD)), signed(Signer(NEW))
    assert read(before, secrets=(NEW, OLD)) == read(after, secrets=(NEW, OLD)) == ("alice", False)
    assert read(before, secrets=(NEW,)).forged


def test_nobody_can_sign_as_who_proves_nothing() -> None:
    headers = (("modelmora-principal", b"topic:alice"),)
    assert read(signed(Signer(NEW), headers)) == ("topic:alice", True)


# A key of one principal --------------------------------------------------------------------------


def test_a_key_of_its_own_signs_as_one_principal_alone() -> None:
    signer = Signer.of_key(key_text(NEW, "alice"))
    assert read(signed(signer)) == ("alice", False)
    assert (signer.principal(""), signer.principal("alice")) == ("alice", "alice")
    with pytest.raises(Invalid, match="that of alice"):
        signer.principal("bob")
    headers = (("modelmora-principal", b"bob"),)
    assert read(signed(signer, headers)) == ("topic:bob", True)


@pytest.mark.parametrize("principal", ["", "topic:bob", "local", "a\nb", "a" * 257])
def test_who_can_have_no_key(principal: str) -> None:
    with pytest.raises(Invalid):
        key_text(NEW, principal)


@pytest.mark.parametrize("text", ["", "alice", "alice:00", f":{'0' * 64}", f"alice:{'x' * 64}"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(Invalid, match="modelmora keys signing"):
        Signer.of_key(text)


# Commands ----------------------------------------------------------------------------------------


def command(
    given: ControlCommand = CANCEL,
    *,
    gateway: str = "",
    at_ms: int = NOW,
    signer: Signer | None = None,
) -> Headers:
    headers: Headers = (("modelmora-principal", given.principal.encode()),)
    if gateway:
        headers = (*headers, ("modelmora-gateway", gateway.encode()))
    return (*headers, (signer or Signer(NEW)).command(given, gateway.encode(), at_ms))


def test_a_command_is_its_principals() -> None:
    for given in (CANCEL, LOAD):
        assert Verifier((NEW,)).of_command(command(given), given, NOW + 5) == ("alice", False)
    key = Signer.of_key(key_text(NEW, "alice"))
    assert Verifier((NEW,)).of_command(command(signer=key), CANCEL, NOW) == ("alice", False)
    assert Verifier((NEW,)).of_command(ALICE, CANCEL, NOW) == ("topic:alice", False)
    assert Verifier().of_command(ALICE, CANCEL, NOW) == ("alice", False)


@pytest.mark.parametrize(
    ("headers", "given", "at_ms"),
    [
        (command(), replace(CANCEL, target="r2"), NOW),
        (command(LOAD), replace(LOAD, everywhere=True), NOW),
        (command(LOAD), replace(LOAD, verb=ControlVerb.UNLOAD), NOW),
        (command(), replace(CANCEL, principal="bob"), NOW),
        (command(), CANCEL, NOW + MOST_APART_MS + 1),
        (command(at_ms=NOW + MOST_APART_MS + 1), CANCEL, NOW),
        ((*command(), ("modelmora-gateway", b"g")), CANCEL, NOW),
        (
            tuple(each for each in command(gateway="g") if each[0] != "modelmora-gateway"),
            CANCEL,
            NOW,
        ),
        (signed(Signer(NEW)), CANCEL, NOW),
        ((*ALICE, ("modelmora-signature", b"1 9999999999999999 " + b"0" * 64)), CANCEL, NOW),
    ],
)
def test_a_command_is_not_given_again_as_another(
    headers: Headers, given: ControlCommand, at_ms: int
) -> None:
    assert Verifier((NEW,)).of_command(headers, given, at_ms) == ("topic:alice", True)


def test_a_request_is_no_command_and_the_other_way_round() -> None:
    """Each says first what it is."""
    assert read(command()).forged


# Handing on --------------------------------------------------------------------------------------

CAME = (
    *ALICE,
    ("modelmora-handed-on", b"0 1 2 3 ns.requests.low"),
    ("modelmora-read-at", b"1 2 t"),
)


def test_only_nodes_say_where_a_request_comes_from() -> None:
    headers = (*CAME, Signer(NEW).handed_on(CAME, "r1"))
    verifier = Verifier((OLD, NEW))
    assert verifier.was_handed_on(headers, "r1")
    assert not verifier.was_handed_on(CAME, "r1")
    assert not verifier.was_handed_on(headers, "r2")
    for name in ("modelmora-handed-on", "modelmora-read-at", "modelmora-principal"):
        assert not verifier.was_handed_on((*headers, (name, b"0 9 9 3 ns.requests.low")), "r1")
    assert not verifier.was_handed_on((*headers, ("modelmora-signature", b"another")), "r1")
    assert Verifier().was_handed_on(CAME, "r1")


def test_a_key_of_one_principal_hands_nothing_on() -> None:
    name, value = signed(Signer.of_key(key_text(NEW, "alice")), CAME)[-1]
    assert name == "modelmora-signature"
    headers = (*CAME, ("modelmora-handed-on-signature", value))
    assert not Verifier((NEW,)).was_handed_on(headers, "r1")


# Settings ----------------------------------------------------------------------------------------


def told(**access: Any) -> Settings:
    return Settings(access=AccessSettings(**access))


def test_of_several_secrets_the_first_signs_and_all_hold(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{NEW.decode()}\n{OLD.decode()}\n")
    settings = told(cluster_secret="x" * 32, cluster_secret_file=file)
    signer = cluster_signer_of(settings)
    assert signer == signer_of(settings) == Signer(NEW)
    for each in (NEW, OLD):
        headers = signed(Signer(each))
        whose = verifier_of(settings).of_request(headers, HEAD, Lane.NORMAL, digest)
        assert whose == ("alice", False)
    assert signing_key_of(settings, "alice") == key_text(NEW, "alice")


def test_without_a_secret_nothing_is_signed_or_checked() -> None:
    settings = told()
    assert (cluster_signer_of(settings), signer_of(settings)) == (None, None)
    assert not verifier_of(settings).asks
    with pytest.raises(ConfigurationError, match="cluster_secret"):
        signing_key_of(settings, "alice")


@pytest.mark.parametrize("secret", ["", " ", "short", f"{'x' * 32} short"])
def test_a_secret_is_long(secret: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(secret)
    with pytest.raises(ConfigurationError, match="32 characters"):
        verifier_of(told(cluster_secret_file=file))


def test_who_has_only_a_key_signs_with_that_and_no_gateway_does(tmp_path: Path) -> None:
    settings = told(signing_key=key_text(NEW, "alice"))
    signer = signer_of(settings)
    assert signer
    assert signer.principal("") == "alice"
    assert cluster_signer_of(settings) is None
    with pytest.raises(ConfigurationError, match=r"access\.signing_key: .*keys signing"):
        signer_of(told(signing_key="nonsense"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        signer_of(told(signing_key_file=tmp_path / "none"))
