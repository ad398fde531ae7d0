"""Whose a record is: its principal, signed so that it holds for this one record alone; pure.

A record is signed with a key of its principal, which is derived from the cluster's secret. Who has
the secret signs for everybody, who has such a key for its principal alone.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from modelmora.access.principals import principal_named
from modelmora.access.rights import TOPIC
from modelmora.errors import Invalid
from modelmora.messages import ControlCommand, Lane, RequestHead
from modelmora.messages.headers import (
    COMPARISON,
    GATEWAY,
    GATEWAY_SIGNATURE,
    HANDED_ON,
    HANDED_ON_SIGNATURE,
    LOCAL,
    MOST_PRINCIPAL,
    OR_BUSY,
    PRINCIPAL,
    PROBE,
    PROBE_SIGNATURE,
    READ_AT,
    REPLY_TOPIC,
    RUN,
    SHADOW_OF,
    SHADOW_SIGNATURE,
    SIGNATURE,
    claimed_principal,
    header_of,
    principal_of,
)
from modelmora.settings.routes import is_free

Headers = Sequence[tuple[str, bytes | None]]
Fields = tuple[str, ...]
MOST_KEYS = 1000
"""Of principals that are remembered."""
UNKNOWN = "unknown"
"""Who wrote a record that names nobody."""
MOST_APART_MS = 300_000
"""What the clocks of who signs a command and of the broker may differ by: no longer can a copy of
it be given as an order of its own."""
_OF_REQUEST = re.compile(rb"1 ([0-9a-f]{64})")
_OF_COMMAND = re.compile(rb"1 (\d{1,15}) ([0-9a-f]{64})", re.ASCII)
_KEY = re.compile(rf"(.{{1,{MOST_PRINCIPAL}}}):([0-9a-f]{{64}})")


class Whose(NamedTuple):
    """Whose a record is, and whether it has a signature that does not hold."""

    principal: str
    forged: bool = False


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs records, as every principal or, with a key of its own, as one.

    `secret` is the cluster's; without it `own` is the one principal and its key.
    """

    secret: bytes | None = field(default=None, repr=False)
    own: tuple[str, bytes] | None = field(default=None, repr=False)

    @classmethod
    def of_key(cls, text: str) -> Signer:
        """One who signs as one principal, with what `key_text` gave. Raises Invalid."""
        found = _KEY.fullmatch(text.strip())
        if found is None:
            raise Invalid("this is no key to sign with; `modelmora keys signing NAME` makes one")
        return cls(own=(found[1], bytes.fromhex(found[2])))

    def principal(self, asked: str) -> str:
        """As whom a record is signed that names this principal, "" nobody. Raises Invalid."""
        if self.own is None:
            return asked or LOCAL
        name = self.own[0]
        if asked not in ("", name):
            raise Invalid(
                f"the key to sign with is that of {name}: nothing can be asked as {asked}"
            )
        return name

    def request(
        self, headers: Headers, head: RequestHead, lane: Lane, content: str
    ) -> tuple[str, bytes]:
        """The header that signs a request as that of the principal that these headers name.

        `content` is its `wire.content_digest`.
        """
        key = self._key(principal_of(headers))
        return SIGNATURE, f"1 {_mac(key, _of_request(headers, head, lane, content))}".encode()

    def command(
        self, command: ControlCommand, gateway: bytes | None, now_ms: int
    ) -> tuple[str, bytes]:
        """The header that signs a command, which is given now."""
        mac = _mac(self._key(command.principal), _of_command(command, gateway, now_ms))
        return SIGNATURE, f"1 {now_ms} {mac}".encode()

    def of_gateway(self, headers: Headers, request_id: str) -> tuple[str, bytes]:
        """The header that says that a gateway has written a request, signed, with these headers."""
        assert self.secret is not None  # noqa: S101 - a gateway has no other key
        mac = _mac(_node_key(self.secret), _of_gateway(headers, request_id))
        return GATEWAY_SIGNATURE, f"1 {mac}".encode()

    def handed_on(self, headers: Headers, request_id: str) -> tuple[str, bytes]:
        """The header that says that a node has handed a request on with these headers."""
        assert self.secret is not None  # noqa: S101 - a node has no other key
        mac = _mac(_node_key(self.secret), _of_handed_on(headers, request_id))
        return HANDED_ON_SIGNATURE, f"1 {mac}".encode()

    def copied(self, headers: Headers, request_id: str) -> tuple[str, bytes]:
        """The header that says that a node has copied a request, as these headers say."""
        assert self.secret is not None  # noqa: S101 - a node has no other key
        mac = _mac(_node_key(self.secret), _of_copied(headers, request_id))
        return SHADOW_SIGNATURE, f"1 {mac}".encode()

    def probe(self, headers: Headers, request_id: str) -> tuple[str, bytes]:
        """The header that says that a gateway asks whether a record arrives, as these say."""
        assert self.secret is not None  # noqa: S101 - a gateway has no other key
        mac = _mac(_node_key(self.secret), _of_probe(headers, request_id))
        return PROBE_SIGNATURE, f"1 {mac}".encode()

    def _key(self, principal: str) -> bytes:
        if self.secret is not None:
            return principal_key(self.secret, principal)
        assert self.own is not None  # noqa: S101 - one of both is there
        return self.own[1]


class Verifier:
    """Knows whose records are; without secrets everybody is who they say they are."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._secrets = tuple(secrets)

    @property
    def asks(self) -> bool:
        """Whether signatures are asked for."""
        return bool(self._secrets)

    def unproved(self, headers: Headers) -> str:
        """Whose a record is that cannot be read, so that nothing can be proved of it."""
        return unproved(headers) if self._secrets else principal_of(headers)

    def of_request(
        self, headers: Headers, head: RequestHead, lane: Lane, content: Callable[[str], str]
    ) -> Whose:
        """Whose a request is; `content` makes the digest of it as one of a principal."""
        given = header_of(headers, SIGNATURE) if self._secrets else None
        if given is None:
            return Whose(self.unproved(headers))
        principal, found = claimed_principal(headers), _OF_REQUEST.fullmatch(given)
        if found and self._may_sign(principal):
            what = _of_request(headers, head, lane, content(principal))
            if self._holds(found[1], what, principal):
                return Whose(principal)
        return Whose(self.unproved(headers), forged=True)

    def of_command(self, headers: Headers, command: ControlCommand, timestamp: int) -> Whose:
        """Whose a command is, which the broker has had since then (Unix ms)."""
        given = header_of(headers, SIGNATURE) if self._secrets else None
        if given is None:
            return Whose(self.unproved(headers))
        principal, found = claimed_principal(headers), _OF_COMMAND.fullmatch(given)
        if found and self._may_sign(principal) and principal == command.principal:
            at_ms, gateway = int(found[1]), header_of(headers, GATEWAY)
            what = _of_command(command, gateway, at_ms)
            near = abs(timestamp - at_ms) <= MOST_APART_MS
            if near and self._holds(found[2], what, principal):
                return Whose(principal)
        return Whose(self.unproved(headers), forged=True)

    def was_handed_on(self, headers: Headers, request_id: str) -> bool:
        """Whether a node has written what these headers say of where the request comes from."""
        return self._is_of_node(headers, HANDED_ON_SIGNATURE, _of_handed_on(headers, request_id))

    def was_copied(self, headers: Headers, request_id: str) -> bool:
        """Whether a node has copied a request, as these headers say."""
        return self._is_of_node(headers, SHADOW_SIGNATURE, _of_copied(headers, request_id))

    def is_probe(self, headers: Headers, request_id: str, made_ms: int, timestamp: int) -> bool:
        """Whether a gateway asks by this record whether it arrives, which it has made at a time.

        The broker has had it since `timestamp` (Unix ms): an old one may be a copy.
        """
        near = not self.asks or abs(timestamp - made_ms) <= MOST_APART_MS
        return near and self._is_of_node(headers, PROBE_SIGNATURE, _of_probe(headers, request_id))

    def _is_of_node(self, headers: Headers, name: str, what: Fields) -> bool:
        if not self._secrets:
            return True
        found = _OF_REQUEST.fullmatch(header_of(headers, name) or b"")
        return found is not None and self._holds(found[1], what)

    def is_of_gateway(self, headers: Headers, request_id: str) -> bool:
        """Whether a gateway has written a request; of a replay of it none has.

        Without secrets whoever says so is believed.
        """
        names = {name for name, _ in headers}
        if GATEWAY not in names or RUN in names:
            return False
        if not self._secrets:
            return True
        found = _OF_REQUEST.fullmatch(header_of(headers, GATEWAY_SIGNATURE) or b"")
        return found is not None and self._holds(found[1], _of_gateway(headers, request_id))

    @staticmethod
    def _may_sign(principal: str) -> bool:
        """Names of who proves nothing are nobody's to sign."""
        return bool(principal) and not principal.startswith(TOPIC)

    def _holds(self, given: bytes, what: Fields, principal: str | None = None) -> bool:
        """Whether this was signed so with any of the secrets, for a principal or by a node."""
        for secret in self._secrets:
            key = _node_key(secret) if principal is None else principal_key(secret, principal)
            if hmac.compare_digest(_mac(key, what).encode(), given):
                return True
        return False


def unproved(headers: Headers) -> str:
    """Whose a record is that proves nothing, where proofs are asked for."""
    claimed = claimed_principal(headers)
    # Handed on or replayed it is whose it was.
    named = claimed if claimed.startswith(TOPIC) else TOPIC + (claimed or UNKNOWN)
    return named[:MOST_PRINCIPAL]


def told_as(headers: Headers) -> frozenset[str]:
    """As whose the outcome of a request may be told that was written with these headers."""
    principal = principal_of(headers)
    is_signed = any(name == SIGNATURE for name, _ in headers)
    return frozenset({principal} if is_signed else {principal, unproved(headers)})


@lru_cache(MOST_KEYS)
def principal_key(secret: bytes, principal: str) -> bytes:
    """What a principal's records are signed with, from which nobody can make the secret."""
    return hmac.digest(secret, b"modelmora principal\n" + principal.encode(), "sha256")


def key_text(secret: bytes, principal: str) -> str:
    """The key of one principal, to be given to its program. Raises Invalid."""
    name = principal_named(principal, "this name")
    return f"{name}:{principal_key(secret, principal).hex()}"


@lru_cache(MOST_KEYS)
def _node_key(secret: bytes) -> bytes:
    return hmac.digest(secret, b"modelmora nodes", "sha256")


def _of_request(headers: Headers, head: RequestHead, lane: Lane, content: str) -> Fields:
    """What of a request is signed: all on which its outcome depends, and who is told it.

    A copy that differs in any of it could have another outcome by the same id.
    """
    told = dict(headers)
    timeout_ms = "" if head.timeout_ms is None else str(head.timeout_ms)
    progress, or_busy = "progress" * head.progress, OR_BUSY * (OR_BUSY in told)
    what = ("request", head.request_id, lane.label, content, timeout_ms, progress, or_busy)
    routed = (text for name, value in headers if is_free(name) for text in (name, _text(value)))
    return *what, _text(told.get(REPLY_TOPIC)), *routed


def _of_command(command: ControlCommand, gateway: bytes | None, at_ms: int) -> Fields:
    """Of which gateway's requests a cancel is counts: without it the cancel is of all."""
    everywhere = "everywhere" * command.everywhere
    return "command", command.verb, command.target, everywhere, _text(gateway), str(at_ms)


def _of_handed_on(headers: Headers, request_id: str) -> Fields:
    """It holds for the request whose it was: with another signature it is another one."""
    told = dict(headers)
    names = (HANDED_ON, READ_AT, PRINCIPAL, SIGNATURE)
    return "handed on", request_id, *(_text(told.get(name)) for name in names)


def _of_gateway(headers: Headers, request_id: str) -> Fields:
    """It holds for the request whose signature it has, and whatever that signs."""
    told = dict(headers)
    return "of gateway", request_id, *(_text(told.get(name)) for name in (GATEWAY, SIGNATURE))


def _of_copied(headers: Headers, request_id: str) -> Fields:
    told = dict(headers)
    names = (SHADOW_OF, COMPARISON, PRINCIPAL, SIGNATURE)
    return "copied", request_id, *(_text(told.get(name)) for name in names)


def _of_probe(headers: Headers, request_id: str) -> Fields:
    """It holds for one place alone: a copy elsewhere asks nothing."""
    return "probe", request_id, _text(dict(headers).get(PROBE))


def _text(header: bytes | None) -> str:
    """The bytes of a header as they are, a character for each."""
    return (header or b"").decode("latin-1")


def _mac(key: bytes, fields: Fields) -> str:
    """HMAC-SHA256 of fields, each behind its length, so that none can pass for another."""
    text = "".join([f"{len(each)}:{each}" for each in fields])
    return hmac.digest(key, text.encode(), "sha256").hex()
