"""Which tokens hold: a table of them, right and wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from modelmora.access.principals import principal_named
from modelmora.access.tokens import SKEW_S, BadToken, claimed, kid_of, usable
from modelmora.errors import Invalid
from modelmora.settings import OidcSettings
from tests.issuers import AUDIENCE, ISSUER, KINDS, TestIssuer, encoded

ISSUED = TestIssuer()
WANTED = OidcSettings(issuer=ISSUER, audience=AUDIENCE)
KEYS = usable(ISSUED.jwks())


def holds(token: str, wanted: OidcSettings = WANTED) -> str:
    """Whose the token is, as a gateway finds out. Raises BadToken."""
    kid = kid_of(token)
    if kid not in KEYS:
        raise BadToken("unknown kid")
    return claimed(token, KEYS[kid], wanted, time.time()).principal


@pytest.mark.parametrize("alg", KINDS)
def test_what_the_issuer_signs_holds(alg: str) -> None:
    assert holds(ISSUED.token(alg)) == "alice"


def now() -> int:
    return int(time.time())


RIGHT: dict[str, Callable[[], str]] = {
    "one audience of several": lambda: ISSUED.token(aud=["other", AUDIENCE]),
    "an access token": lambda: ISSUED.token(header={"typ": "at+jwt"}),
    "a type in other letters": lambda: ISSUED.token(header={"typ": "JWT"}),
    "a header with more than we need": lambda: ISSUED.token(header={"nonce": "x" * 600}),
    "clocks that differ": lambda: ISSUED.token(exp=now() - SKEW_S // 2, nbf=now() + SKEW_S // 2),
    "a fraction of a second": lambda: ISSUED.token(exp=now() + 60.5),
    "a subject with a bar": lambda: ISSUED.token(sub="auth0|5f7c"),
    "an account of Kubernetes": lambda: ISSUED.token(sub="system:serviceaccount:web:app"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_holds(case: str) -> None:
    assert holds(RIGHT[case]())


def other(kind: str) -> str:
    """Signed by a stranger who names a key of the issuer's."""
    keys: dict[str, Any] = {
        "RS256": RSAKey.generate_key(2048),
        "ES256": ECKey.generate_key("P-256"),
        "EdDSA": OKPKey.generate_key("Ed25519"),
    }
    return ISSUED.signed(keys[kind], {"alg": kind, "kid": kind})


def cut(number: int, by: str) -> str:
    parts = ISSUED.token().split(".")
    parts[number] = by
    return ".".join(parts)


def public_pem() -> bytes:
    return bytes(ISSUED.keys["RS256"].as_pem(private=False))


def with_own_key() -> str:
    """It brings the key by which it is signed."""
    own = ECKey.generate_key("P-256")
    return ISSUED.signed(own, {"alg": "ES256", "kid": "ES256", "jwk": own.as_dict(private=False)})


WRONG: dict[str, Callable[[], str]] = {
    "alg none": ISSUED.unsigned,
    "alg None": lambda: ISSUED.unsigned().replace(
        encoded(b'{"alg": "none", "kid": "ES256"}'), encoded(b'{"alg": "None", "kid": "ES256"}')
    ),
    "the public key as a secret, PEM": lambda: ISSUED.confused(public_pem()),
    "the public key as a secret, JSON": lambda: ISSUED.confused(
        json.dumps(ISSUED.jwks()["keys"][0]).encode()
    ),
    "a secret for a key": lambda: ISSUED.signed(
        OctKey.generate_key(256), {"alg": "HS256", "kid": "ES256"}
    ),
    "another algorithm of the same key": lambda: ISSUED.signed(
        ISSUED.keys["RS256"], {"alg": "RS512", "kid": "RS256"}
    ),
    "PSS of the same key": lambda: ISSUED.signed(
        ISSUED.keys["RS256"], {"alg": "PS256", "kid": "RS256"}
    ),
    "the algorithm of another key": lambda: ISSUED.signed(
        ISSUED.keys["ES256"], {"alg": "ES256", "kid": "RS256"}
    ),
    "an unknown kid": lambda: ISSUED.token(header={"kid": "other"}),
    "no kid": lambda: ISSUED.signed(ISSUED.keys["ES256"], {"alg": "ES256"}),
    "a stranger's RSA": lambda: other("RS256"),
    "a stranger's EC": lambda: other("ES256"),
    "a stranger's EdDSA": lambda: other("EdDSA"),
    "its own key": with_own_key,
    "another issuer": lambda: ISSUED.token(iss="https://issuer.example/other"),
    "an issuer with a slash more": lambda: ISSUED.token(iss=ISSUER + "/"),
    "no issuer": lambda: ISSUED.token(iss=None),
    "a list of issuers": lambda: ISSUED.token(iss=[ISSUER]),
    "another audience": lambda: ISSUED.token(aud="other"),
    "other audiences": lambda: ISSUED.token(aud=["a", "b"]),
    "no audience": lambda: ISSUED.token(aud=None),
    "an empty audience": lambda: ISSUED.token(aud=[]),
    "an audience that is longer": lambda: ISSUED.token(aud=AUDIENCE + "2"),
    "expired": lambda: ISSUED.token(exp=now() - SKEW_S - 1),
    "without an end": lambda: ISSUED.token(exp=None),
    "an end in words": lambda: ISSUED.token(exp="9999999999"),
    "an end that is none": lambda: ISSUED.token(exp=float("nan")),
    "an endless end": lambda: ISSUED.token(exp=float("inf")),
    "an end that is true": lambda: ISSUED.token(exp=True),
    "not yet": lambda: ISSUED.token(nbf=now() + SKEW_S + 60),
    "of the future": lambda: ISSUED.token(iat=now() + SKEW_S + 60),
    "a logout token": lambda: ISSUED.token(header={"typ": "logout+jwt"}),
    "something critical": lambda: ISSUED.token(header={"crit": ["exp"], "exp": 1}),
    "no subject": lambda: ISSUED.token(sub=None),
    "a subject that is a number": lambda: ISSUED.token(sub=7),
    "an empty subject": lambda: ISSUED.token(sub=""),
    "a subject with a line in it": lambda: ISSUED.token(sub="alice\nbob"),
    "a pattern for a subject": lambda: ISSUED.token(sub="team-*"),
    "whoever need not say it": lambda: ISSUED.token(sub="local"),
    "whoever writes a topic": lambda: ISSUED.token(sub="topic:alice"),
    "another payload": lambda: cut(1, encoded(json.dumps(ISSUED.claims(sub="bob")).encode())),
    "no payload": lambda: cut(1, ""),
    "no signature": lambda: cut(2, ""),
    "a cut signature": lambda: ISSUED.token()[:-4],
    "five parts": lambda: ISSUED.token() + ".x.y",
    "one part": lambda: "abc",
    "a header that is no JSON": lambda: cut(0, "e30x"),
    "a header that is a list": lambda: cut(0, encoded(b'["alg"]')),
    "a header that is text": lambda: cut(0, encoded(b'"alg kid"')),
    "a header without end": lambda: cut(0, encoded(b"[" * 3000)),
    "a payload that is a list": lambda: ISSUED.over(b"[]"),
    "a payload that is no JSON": lambda: ISSUED.over(b"{"),
    "a payload without end": lambda: ISSUED.over(b"[" * 3000),
    "an algorithm that is a list": lambda: cut(0, encoded(b'{"alg": ["ES256"], "kid": "ES256"}')),
    "a huge one": lambda: ISSUED.token(padding="x" * 20_000),
    "other letters": lambda: ISSUED.token() + "ü",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_hold(case: str) -> None:
    token = WRONG[case]()
    with pytest.raises(BadToken) as caught:
        holds(token)
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 200
    assert not token or token not in told


def test_another_claim_and_a_prefix() -> None:
    wanted = OidcSettings(issuer=ISSUER, audience=AUDIENCE, claim="email", prefix="oidc:")
    assert holds(ISSUED.token(email="a@b.example"), wanted) == "oidc:a@b.example"
    with pytest.raises(BadToken, match="no claim email"):
        holds(ISSUED.token(), wanted)
    topic = OidcSettings(issuer=ISSUER, audience=AUDIENCE, prefix="topic:")
    with pytest.raises(BadToken, match="no gateway has recognised"):
        holds(ISSUED.token(), topic)


def test_keys_that_are_not_for_this_are_left_out() -> None:
    good = ISSUED.jwks()["keys"]
    with pytest.warns(SecurityWarning, match="2048"):
        weak = RSAKey.generate_key(1024, {"kid": "weak"}).as_dict(private=False)
    curve = ECKey.generate_key("P-384", {"kid": "curve"}).as_dict(private=False)
    x25519 = OKPKey.generate_key("X25519", {"kid": "x"}).as_dict(private=False)
    secret = OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True)
    others = [
        weak,
        curve,
        x25519,
        secret,
        {**good[0], "kid": "enc", "use": "enc"},
        {**good[0], "kid": "pss", "alg": "PS256"},
        {**good[1], "kid": "broken", "x": "!"},
        {**good[1], "kid": 7},
        {"kty": "EC"},
        {**good[1], "kid": "odd", "kty": ["EC"]},
        "nothing",
        None,
    ]
    assert set(usable({"keys": [*others, *good]})) == set(KINDS)
    empty: tuple[object, ...] = (None, [], "x", {}, {"keys": None}, {"keys": {}})
    for nothing in empty:
        assert usable(nothing) == {}


def test_a_private_part_that_is_published_is_no_reason_to_sign() -> None:
    """Issuers that publish too much are still checked by what is public."""
    whole = ISSUED.keys["ES256"].as_dict(private=True)
    key = usable({"keys": [whole]})["ES256"]
    assert claimed(ISSUED.token(), key, WANTED, time.time()).principal == "alice"


@pytest.mark.parametrize("name", ["spiffe://mesh/ns/web", "a", "A" * 128, "a+b@c.d", "x|y"])
def test_names_that_may_be_principals(name: str) -> None:
    assert principal_named(name, "it") == name


@pytest.mark.parametrize(
    "name", ["", "A" * 129, "*", "a b", "é", "-a", None, 7, "local", "topic:x", "user:root"]
)
def test_names_that_may_not(name: object) -> None:
    with pytest.raises(Invalid, match=r"^it is"):
        principal_named(name, "it")
