"""The keys of an issuer of tokens: fetched, kept, fetched again; and the tokens checked by them."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from modelmora.access.tokens import BadToken, Claimed, Key, claimed, kid_of, usable
from modelmora.errors import ConfigurationError, Unreachable
from modelmora.settings import OidcSettings, Settings

FRESH_S = 300.0
"""For so long nobody asks the issuer whether it still has these keys."""
STALE_S = 3600.0
"""For so long keys hold where the issuer does not answer."""
PAUSE_S = 10.0
"""Between two questions, whatever callers send."""
ASKED_S = 5.0
MOST_BYTES = 1 << 20
KEPT = 4096
"""Checked tokens that are kept, so that each is checked once."""
DISCOVERY = "/.well-known/openid-configuration"
Fetch = Callable[[str], Awaitable[Any]]
log = structlog.get_logger(__name__)


class IssuerUnreachable(Unreachable):
    """The issuer's keys cannot be had, so that no token can be checked."""


@dataclass(frozen=True, slots=True)
class _Kept:
    claimed: Claimed
    kid: str
    key: Key


class Issuer:
    """Says whose a token is. Keys that it has are used at once, and looked at anew beside that.

    `clock` is monotonic, `now` Unix time, both in seconds.
    """

    def __init__(
        self,
        wanted: OidcSettings,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = wanted
        self._fetch = fetch
        self._clock = clock
        self._now = now
        self._keys: dict[str, Key] = {}
        self._fetched_s: float | None = None
        self._asked_s: float | None = None
        self._asking: asyncio.Task[None] | None = None
        self._answered = True
        """Whether the last question was answered."""
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def look(self) -> None:
        """Have the keys fetched, so that the log tells early where they cannot be."""
        self._ask()

    async def close(self) -> None:
        """Ask for nothing more."""
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def principal(self, token: str) -> str:
        """Whose token this is. Raises BadToken, IssuerUnreachable."""
        mark = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(mark)
        kid = kept.kid if kept else kid_of(token)
        key = await self._key(kid)
        if kept and kept.key is key and self._now() < kept.claimed.until_s:
            return kept.claimed.principal
        self._kept.pop(mark, None)
        found = claimed(token, key, self._wanted, self._now())
        self._kept[mark] = _Kept(found, kid, key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found.principal

    async def _key(self, kid: str) -> Key:
        age_s = self._age_s()
        key = self._keys.get(kid) if age_s < STALE_S else None
        if key and age_s < FRESH_S:
            return key
        asking = self._ask()
        if key:
            return key
        if asking:
            await asyncio.shield(asking)
        stale = self._age_s() >= STALE_S
        key = None if stale else self._keys.get(kid)
        if key is None and (stale or not self._answered):  # the issuer may have it
            raise IssuerUnreachable(
                f"the keys of {self._wanted.issuer} cannot be had, so this token cannot be "
                "checked; try again"
            )
        if key is None:
            raise BadToken("the issuer has no key of this token's name (`kid`); ask for a new one")
        return key

    def _age_s(self) -> float:
        return float("inf") if self._fetched_s is None else self._clock() - self._fetched_s

    def _ask(self) -> asyncio.Task[None] | None:
        """The one question that is on its way; None where it is too early for another."""
        if self._asking is None or self._asking.done():
            now_s = self._clock()
            if self._asked_s is not None and now_s - self._asked_s < PAUSE_S:
                return None
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._renew(), name="keys of the issuer")
        return self._asking

    async def _renew(self) -> None:
        began_s, self._answered = self._clock(), False
        try:
            keys = usable(await self._fetch(await self._where()))
        except Unreachable as error:
            log.warning("the issuer's keys are as they were", reason=str(error))
            return
        if not keys:
            log.warning("the issuer's keys are as they were", reason="it told none we can use")
            return
        # Equal ones stay the same, so that what was checked by them is not checked again.
        same = {kid: key for kid, key in self._keys.items() if keys.get(kid) == key}
        self._keys, self._fetched_s = {**keys, **same}, began_s
        self._answered = True

    async def _where(self) -> str:
        wanted = self._wanted
        if wanted.jwks_url:
            return wanted.jwks_url
        issuer = wanted.issuer or ""
        told = await self._fetch(issuer.rstrip("/") + DISCOVERY)
        told = told if isinstance(told, dict) else {}
        if told.get("issuer") != issuer:
            raise Unreachable(f"{issuer} says that it is {told.get('issuer')!r}; see oidc.issuer")
        where = told.get("jwks_uri")
        if not isinstance(where, str) or where.partition(":")[0] != issuer.partition(":")[0]:
            raise Unreachable(f"{issuer} does not say where its keys are; see oidc.jwks_url")
        return where


def issuer_of(settings: Settings) -> Issuer | None:
    """The issuer whose tokens are taken. Raises ConfigurationError (`oidc.cafile`)."""
    wanted = settings.oidc
    if wanted.issuer is None:
        return None
    try:
        trusted = ssl.create_default_context(cafile=wanted.cafile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"oidc.cafile {wanted.cafile} cannot be used: {error.strerror or error}"
        ) from None
    return Issuer(wanted, lambda url: fetched(url, trusted))


async def fetched(url: str, trusted: ssl.SSLContext) -> Any:
    """The JSON that is at this URL. Raises Unreachable."""
    import httpx

    body = bytearray()
    try:
        async with (
            asyncio.timeout(ASKED_S),
            httpx.AsyncClient(verify=trusted, trust_env=False, timeout=ASKED_S) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise Unreachable(f"{url} answered {answer.status_code}")
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MOST_BYTES:
                    raise Unreachable(f"{url} answered more than {MOST_BYTES} bytes")
        return orjson.loads(body)
    except TimeoutError:
        raise Unreachable(f"{url} gave no answer in {ASKED_S:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Unreachable(f"{url} cannot be reached ({error})") from None
    except ValueError:
        raise Unreachable(f"{url} answered no JSON") from None
