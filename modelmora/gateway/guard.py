"""Who a call is from: the principal of its API key, where one is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from modelmora.access.files import Keyring
from modelmora.audit.auditor import Tell, untold
from modelmora.gateway.caller import LOCAL
from modelmora.gateway.outcomes import Refusal
from modelmora.web.problems import DoorCode

CHALLENGE = {"www-authenticate": 'Bearer realm="modelmora"'}
"""What a refusal is told with over HTTP (RFC 6750, section 3)."""
CALL = "call"
"""The verb of who is refused before it is known what they want."""
UNKNOWN = "unknown"
HOW = "send the header `Authorization: Bearer mm_...`"


class Guard:
    """Knows callers by the keys of a keyring; without one everybody is LOCAL."""

    def __init__(self, keyring: Keyring | None = None, audit: Tell = untold) -> None:
        self._keyring = keyring
        self._audit = audit

    def principal(self, authorization: Sequence[str]) -> str:
        """Who sends these values of `authorization`. Raises Refusal, which is audited.

        A key is looked at as its call comes in; what has begun by then runs to its end.
        """
        try:
            return self._principal(authorization)
        except Refusal as refusal:
            self._audit(CALL, UNKNOWN, allowed=False, reason=refusal.message)
            raise

    def _principal(self, authorization: Sequence[str]) -> str:
        if self._keyring is None:
            return LOCAL
        if not authorization:
            raise Refusal(DoorCode.UNAUTHENTICATED, f"an API key is needed; {HOW}")
        scheme, _, text = authorization[0].partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer":
            raise Refusal(DoorCode.UNAUTHENTICATED, f"this is no API key; {HOW}")
        key = self._keyring.recognise(text.strip())
        if key is None:
            raise Refusal(DoorCode.UNAUTHENTICATED, "there is no such API key; ask for a new one")
        if key.expired(time.time_ns() // 1_000_000):
            message = f"the API key {key.id} has expired; ask for a new one"
            raise Refusal(DoorCode.UNAUTHENTICATED, message)
        return key.principal


EVERYBODY = Guard()
