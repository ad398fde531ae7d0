"""Who a call is from: by its API key, its token or its certificate, where one is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelmora.access.binding import asks_who
from modelmora.access.files import Keyring, keyring_of
from modelmora.audit.auditor import Tell, untold
from modelmora.errors import Invalid, Unreachable
from modelmora.gateway.caller import LOCAL
from modelmora.gateway.outcomes import Refusal
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode

if TYPE_CHECKING:
    from modelmora.access.issuer import Issuer

CHALLENGE = {"www-authenticate": 'Bearer realm="modelmora"'}
"""What a refusal is told with over HTTP (RFC 6750, section 3)."""
KEYS_BEGIN = "mm_"
CALL = "call"
"""The verb of who is refused before it is known what they want."""
UNKNOWN = "unknown"


class Guard:
    """Knows callers by what the settings name; with nothing of that everybody is LOCAL.

    `certificates`: whether callers may show one, or each call needs one.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        issuer: Issuer | None = None,
        certificates: str = "none",
        audit: Tell = untold,
    ) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._asks = keyring is not None or issuer is not None or certificates != "none"
        self._certificates = certificates != "none"
        self._audit = audit
        self.needs_certificate = certificates == "required"

    async def principal(
        self, authorization: Sequence[str], certificate: bytes | None = None
    ) -> str:
        """Who sends these values of `authorization` over a connection of this certificate.

        A call is looked at as it comes in; what has begun by then runs to its end. What a call says
        goes before what its connection says, which a proxy may have made. Raises Refusal, which is
        audited.
        """
        if not self._asks:
            return LOCAL
        try:
            return await self._principal(authorization, certificate)
        except Refusal as refusal:
            self._audit(CALL, UNKNOWN, allowed=False, reason=refusal.message)
            raise

    async def _principal(self, authorization: Sequence[str], certificate: bytes | None) -> str:
        holder = self._holder(certificate)
        if not authorization:
            if holder is None:
                raise self._shut("it is not said who calls")
            return holder
        scheme, _, text = authorization[0].partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer":
            raise self._shut("this says nothing of who calls")
        return await self._bearer(text.strip())

    def begin(self) -> None:
        """Have at hand what is needed to know callers."""
        if self._issuer:
            self._issuer.look()

    async def close(self) -> None:
        """Ask nobody for anything more."""
        if self._issuer:
            await self._issuer.close()

    def _holder(self, certificate: bytes | None) -> str | None:
        if not self._certificates or certificate is None:
            if self.needs_certificate:
                raise _unknown("each call needs a client certificate; connect with yours")
            return None
        from modelmora.access.holders import holder_of

        try:
            holder = holder_of(certificate)
        except Invalid as error:
            raise _unknown(str(error)) from None
        if time.time_ns() // 1_000_000 >= holder.expires_at:
            raise _unknown("the client certificate has expired; connect with a new one")
        return holder.principal

    async def _bearer(self, text: str) -> str:
        if self._issuer and not text.startswith(KEYS_BEGIN):
            try:
                return await self._issuer.principal(text)
            except Unreachable as error:
                raise Refusal(DoorCode.ISSUER_UNREACHABLE, str(error)) from None
            except Invalid as error:
                raise _unknown(str(error)) from None
        key = self._keyring.recognise(text) if self._keyring else None
        if key is None:
            raise _unknown("there is no such API key; ask for a new one")
        if key.expired(time.time_ns() // 1_000_000):
            raise _unknown(f"the API key {key.id} has expired; ask for a new one")
        return key.principal

    def _shut(self, why: str) -> Refusal:
        ways = ["an API key (`Authorization: Bearer mm_...`)"] if self._keyring else []
        ways += ["a token (`Authorization: Bearer ...`)"] if self._issuer else []
        ways += ["a client certificate"] if self._certificates else []
        return _unknown(f"{why}; send {' or '.join(ways)}")


def _unknown(message: str) -> Refusal:
    return Refusal(DoorCode.UNAUTHENTICATED, message)


def guard_of(settings: Settings, audit: Tell = untold) -> Guard:
    """The guard that these settings ask for. Raises ConfigurationError."""
    if not asks_who(settings):
        return EVERYBODY
    issuer = None
    if settings.oidc.issuer:
        from modelmora.access.issuer import issuer_of

        issuer = issuer_of(settings)
    certificates = settings.tls.clients if settings.tls.client_cafile else "none"
    return Guard(keyring_of(settings), issuer, certificates, audit)


EVERYBODY = Guard()
