"""Whether a bearer token of OpenID Connect holds, and whose it is; decides, reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwk, jws, jwt
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    JoseError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import ECKey, OKPKey, RSAKey

from modelmora.access.principals import principal_named
from modelmora.errors import Invalid
from modelmora.settings import OidcSettings

Key = RSAKey | ECKey | OKPKey
ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""The one algorithm of each kind of key: the token has no say in it."""
CURVES = {"EC": "P-256", "OKP": "Ed25519"}
RSA_BITS = 2048
TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""Tokens for callers; others of the same issuer, such as `logout+jwt`, are for something else."""
MOST_BYTES = 16 << 10
SKEW_S = 30
"""By so much the issuer's clock and ours may differ."""


class BadToken(Invalid):
    """A token does not hold."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token that holds says, and until when it does (Unix seconds)."""

    principal: str
    until_s: float


class _Registry(jws.JWSRegistry):
    """Takes what issuers put into headers beside what we need, and no algorithm but ours."""

    max_header_length = 4096

    def __init__(self) -> None:
        super().__init__(algorithms=[*ALGORITHMS.values()], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        # That of the library warns of each use of EdDSA, the name that issuers have for Ed25519.
        if name not in ALGORITHMS.values():
            raise UnsupportedAlgorithmError(f"{name} is not taken")
        return self.algorithms[name]


_REGISTRY = _Registry()
_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the library raises of what strangers send."""


def usable(jwks: object) -> dict[str, Key]:
    """The keys of a JWKS with which tokens can be checked, by `kid`; others are left out."""
    listed = jwks.get("keys") if isinstance(jwks, Mapping) else None
    found: dict[str, Key] = {}
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and (key := _key(each)):
            found[each["kid"]] = key
    return found


def _key(given: dict[str, Any]) -> Key | None:
    kind, kid = given.get("kty"), given.get("kid")
    if not (isinstance(kind, str) and kind in ALGORITHMS and isinstance(kid, str)):
        return None
    if given.get("use", "sig") != "sig":
        return None
    if given.get("alg", ALGORITHMS[kind]) != ALGORITHMS[kind]:
        return None
    if given.get("crv") != CURVES.get(kind):
        return None
    # The library warns of short ones; a character of base64 has six bits.
    if kind == "RSA" and 6 * len(str(given.get("n"))) < RSA_BITS:
        return None
    try:
        key = jwk.import_key(given)
        if isinstance(key, RSAKey):
            return key if key.public_key.key_size >= RSA_BITS else None
        return key if isinstance(key, ECKey | OKPKey) else None
    except _UNREADABLE:
        return None


def kid_of(token: str) -> str:
    """Which key a token says it is signed with. Raises BadToken for what can be no token of ours.

    Nothing else of its header is followed: no address, no key and no certificate in it.
    """
    if len(token) > MOST_BYTES or token.count(".") != 2:
        raise BadToken("this is no signed token (JWS); ask your issuer for one")
    try:
        header = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY).headers()
    except _UNREADABLE:
        raise BadToken("this token cannot be read") from None
    if not isinstance(header, dict) or header.get("alg") not in ALGORITHMS.values():
        known = ", ".join(ALGORITHMS.values())
        raise BadToken(f"tokens are signed with {known}, this one is not")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in TYPES or "crit" in header:
        raise BadToken("this token is for something else than calls")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise BadToken("this token does not say which key it is signed with (`kid`)")
    return kid


def claimed(token: str, key: Key, wanted: OidcSettings, now_s: float) -> Claimed:
    """What a token that is signed with this key says. Raises BadToken."""
    try:
        said = jwt.decode(token, key, registry=_REGISTRY).claims
    except BadSignatureError:
        raise BadToken("this token's signature is wrong") from None
    except _UNREADABLE:
        raise BadToken("this token is not what its key signs") from None
    registry = jwt.JWTClaimsRegistry(
        now=int(now_s),
        leeway=SKEW_S,
        iss={"essential": True, "value": wanted.issuer or ""},
        aud={"essential": True, "value": wanted.audience or ""},
        exp={"essential": True},
    )
    try:
        registry.validate(said)
    except ExpiredTokenError:
        raise BadToken("this token has expired; ask your issuer for a new one") from None
    except JoseError as error:
        told = getattr(error, "claim", "") or getattr(error, "description", "")
        raise BadToken(f"this token is not for here or not for now ({told})") from None
    try:
        who = f"{wanted.prefix or ''}{_text(said, wanted.claim)}"
        named = principal_named(who, f"claim {wanted.claim} of this token")
    except Invalid as error:
        raise BadToken(str(error)) from None
    return Claimed(named, said["exp"] + SKEW_S)


def _text(said: Mapping[str, Any], claim: str) -> str:
    value = said.get(claim)
    if not isinstance(value, str) or not value:
        raise Invalid(f"this token has no claim {claim}, which would say who calls")
    return value
