"""An issuer of OpenID Connect for tests: its keys, and tokens of every kind, right and wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "modelmora"
ISSUER = "https://issuer.example/realm"
KINDS = ("RS256", "ES256", "EdDSA")
ALL = [*KINDS, "HS256", "RS512", "PS256"]


class _Anything(JWSRegistry):
    """Signs with what a stranger might."""

    def __init__(self) -> None:
        super().__init__(algorithms=ALL, strict_check_header=False)

    def check_header(self, header: Any) -> None:
        """Whatever it is."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


class TestIssuer:
    """Three keys, one of each kind, named by their algorithms."""

    __test__ = False

    def __init__(self, url: str = ISSUER) -> None:
        self.url = url
        self.keys: dict[str, Any] = {
            "RS256": RSAKey.generate_key(2048, {"kid": "RS256"}),
            "ES256": ECKey.generate_key("P-256", {"kid": "ES256"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "EdDSA"}),
        }

    def jwks(self) -> dict[str, Any]:
        """What it publishes."""
        return {"keys": [key.as_dict(private=False) for key in self.keys.values()]}

    def claims(self, **more: Any) -> dict[str, Any]:
        """Those of a token that holds; None takes one away."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600}
        return {name: value for name, value in (said | more).items() if value is not None}

    def token(self, alg: str = "ES256", header: dict[str, Any] | None = None, **more: Any) -> str:
        """A token, signed by the key of its algorithm's name."""
        return self.signed(self.keys[alg], {"alg": alg, "kid": alg} | (header or {}), **more)

    def signed(self, key: Any, header: dict[str, Any], **more: Any) -> str:
        """A token with this header, signed by this key."""
        payload = json.dumps(self.claims(**more))
        return jws.serialize_compact(header, payload, key, registry=_Anything())

    def over(self, payload: bytes) -> str:
        """A token that is signed as it should be, over this payload."""
        head = {"alg": "ES256", "kid": "ES256"}
        return jws.serialize_compact(head, payload, self.keys["ES256"], registry=_Anything())

    def unsigned(self, **more: Any) -> str:
        """A token with `alg: none`."""
        head = encoded(json.dumps({"alg": "none", "kid": "ES256"}).encode())
        return f"{head}.{encoded(json.dumps(self.claims(**more)).encode())}."

    def confused(self, secret: bytes) -> str:
        """A token signed with HMAC, by what is public of the RSA key."""
        head = encoded(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())
        signing = f"{head}.{encoded(json.dumps(self.claims()).encode())}"
        mac = hmac.new(secret, signing.encode(), hashlib.sha256).digest()
        return f"{signing}.{encoded(mac)}"


def encoded(data: bytes) -> str:
    """As JWS has bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
