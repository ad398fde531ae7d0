"""The issuer's keys: fetched once, kept, fetched anew, and what holds while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import ECKey

from modelmora.access import issuer as module
from modelmora.access.issuer import (
    DISCOVERY,
    FRESH_S,
    KEPT,
    PAUSE_S,
    STALE_S,
    Issuer,
    IssuerUnreachable,
)
from modelmora.access.tokens import BadToken
from modelmora.errors import Unreachable
from modelmora.settings import OidcSettings
from tests.issuers import AUDIENCE, ISSUER, TestIssuer

KEYS_AT = "https://issuer.example/keys"


class Web:
    """What is at the issuer's addresses, and what was asked for there."""

    def __init__(self) -> None:
        self.issued = TestIssuer()
        self.at: dict[str, Any] = {}
        self.asked: list[str] = []
        self.away = False
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.publish()

    def publish(self) -> None:
        self.at[ISSUER + DISCOVERY] = {"issuer": ISSUER, "jwks_uri": KEYS_AT}
        self.at[KEYS_AT] = self.issued.jwks()

    async def fetch(self, url: str) -> Any:
        self.asked.append(url)
        self.entered.set()
        if self.gate:
            await self.gate.wait()
        if self.away or url not in self.at:
            raise Unreachable(f"{url} is away")
        return self.at[url]

    def rotate(self, name: str = "new") -> str:
        """A key more, and a token by it; as long as it is not published nobody knows it."""
        self.issued.keys[name] = ECKey.generate_key("P-256", {"kid": name})
        return self.issued.signed(self.issued.keys[name], {"alg": "ES256", "kid": name})


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer(web: Web, clock: Clock) -> AsyncIterator[Issuer]:
    made = Issuer(OidcSettings(issuer=ISSUER, audience=AUDIENCE), web.fetch, clock)
    yield made
    await made.close()


async def settled() -> None:
    """What was begun beside a call has ended."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task.get_name() == "keys of the issuer":
            await task


async def test_many_callers_share_one_question(issuer: Issuer, web: Web) -> None:
    tokens = [
        web.issued.token(alg, sub=f"{alg}.{n}") for n in range(5) for alg in ("ES256", "RS256")
    ]
    told = await asyncio.gather(*(issuer.principal(token) for token in tokens))
    assert told == [f"{alg}.{n}" for n in range(5) for alg in ("ES256", "RS256")]
    assert web.asked == [ISSUER + DISCOVERY, KEYS_AT]


async def test_the_keys_address_may_be_told(web: Web, clock: Clock) -> None:
    wanted = OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url=KEYS_AT)
    issuer = Issuer(wanted, web.fetch, clock)
    assert await issuer.principal(web.issued.token()) == "alice"
    assert web.asked == [KEYS_AT]


async def test_a_token_is_checked_once(
    issuer: Issuer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = web.issued.token()
    await issuer.principal(token)

    def never(*_: Any) -> None:
        raise AssertionError("it was checked again")

    monkeypatch.setattr(module, "claimed", never)
    assert await issuer.principal(token) == "alice"


async def test_a_kept_token_ends_with_its_time(web: Web, clock: Clock) -> None:
    now = Clock()
    now.s = 5000.0
    wanted = OidcSettings(issuer=ISSUER, audience=AUDIENCE)
    issuer = Issuer(wanted, web.fetch, clock, now)
    token = web.issued.token(iat=4990, exp=5100)
    assert await issuer.principal(token) == "alice"
    now.s = 5200.0
    for _ in range(2):
        with pytest.raises(BadToken, match="expired"):
            await issuer.principal(token)


async def test_only_so_many_are_kept(issuer: Issuer, web: Web, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    assert KEPT > 3
    for number in range(9):
        await issuer.principal(web.issued.token("EdDSA", sub=f"a{number}"))
    assert len(issuer._kept) == 3


async def test_fresh_keys_are_not_asked_for(issuer: Issuer, web: Web, clock: Clock) -> None:
    await issuer.principal(web.issued.token())
    clock.s += FRESH_S - 1
    await issuer.principal(web.issued.token("RS256"))
    assert len(web.asked) == 2


async def test_older_keys_are_used_while_they_are_fetched_anew(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    token = web.issued.token()
    await issuer.principal(token)
    clock.s += FRESH_S + 1
    web.gate = asyncio.Event()
    for _ in range(3):
        async with asyncio.timeout(30):
            assert await issuer.principal(token) == "alice"
    web.gate.set()
    await settled()
    assert len(web.asked) == 4


async def test_a_key_that_was_withdrawn_holds_no_more(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    token = web.issued.token()
    await issuer.principal(token)
    del web.issued.keys["ES256"]
    web.publish()
    clock.s += FRESH_S + 1
    assert await issuer.principal(token) == "alice", "nobody waits for the issuer"
    await settled()
    clock.s += PAUSE_S
    with pytest.raises(BadToken, match="no key of this token's name"):
        await issuer.principal(token)


async def test_a_key_that_is_another_by_the_same_name_takes_the_place(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    token = web.issued.token()
    await issuer.principal(token)
    web.issued.keys["ES256"] = ECKey.generate_key("P-256", {"kid": "ES256"})
    web.publish()
    clock.s += FRESH_S + 1
    await issuer.principal(token)
    await settled()
    with pytest.raises(BadToken, match="signature"):
        await issuer.principal(token)
    assert await issuer.principal(web.issued.token()) == "alice"


async def test_a_new_key_is_fetched_at_its_first_token(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    await issuer.principal(web.issued.token())
    token = web.rotate()
    web.publish()
    clock.s += PAUSE_S
    assert await issuer.principal(token) == "alice"


async def test_strangers_cannot_have_the_issuer_asked_at_will(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    good = web.issued.token()
    await issuer.principal(good)
    for number in range(50):
        with pytest.raises(BadToken):
            await issuer.principal(web.issued.token(header={"kid": f"{number}"}))
    assert len(web.asked) == 2
    clock.s += PAUSE_S
    for number in range(50):
        with pytest.raises(BadToken):
            await issuer.principal(web.issued.token(header={"kid": f"{number}"}))
    assert len(web.asked) == 4
    assert await issuer.principal(good) == "alice"


async def test_an_issuer_that_is_away_is_missed_after_an_hour(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    token = web.issued.token(exp=2**40)
    await issuer.principal(token)
    web.away = True
    clock.s += STALE_S - 1
    assert await issuer.principal(token) == "alice"
    await settled()
    clock.s += 2
    with pytest.raises(IssuerUnreachable, match="try again"):
        await issuer.principal(token)
    clock.s += PAUSE_S
    with pytest.raises(IssuerUnreachable):
        await issuer.principal(token)
    web.away = False
    with pytest.raises(IssuerUnreachable):
        await issuer.principal(token)
    clock.s += PAUSE_S
    assert await issuer.principal(token) == "alice"


async def test_a_key_that_cannot_be_asked_for_is_not_said_to_be_none(
    issuer: Issuer, web: Web, clock: Clock
) -> None:
    """Its token is right: its caller is to try again, not to ask for another."""
    await issuer.principal(web.issued.token())
    token, web.away = web.rotate(), True
    clock.s += PAUSE_S
    for _ in range(2):
        with pytest.raises(IssuerUnreachable, match="try again"):
            await issuer.principal(token)
    assert await issuer.principal(web.issued.token()) == "alice"
    web.away = False
    clock.s += PAUSE_S
    with pytest.raises(BadToken, match="no key"):
        await issuer.principal(token)
    web.publish()
    clock.s += PAUSE_S
    assert await issuer.principal(token) == "alice"


async def test_one_that_was_never_there(issuer: Issuer, web: Web, clock: Clock) -> None:
    web.away = True
    issuer.look()
    with pytest.raises(IssuerUnreachable, match=r"issuer\.example"):
        await issuer.principal(web.issued.token())
    web.away = False
    clock.s += PAUSE_S
    assert await issuer.principal(web.issued.token()) == "alice"


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": ISSUER + "/", "jwks_uri": KEYS_AT},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": "http://issuer.example/keys"},
        {"issuer": ISSUER, "jwks_uri": 7},
        {"jwks_uri": KEYS_AT},
        [],
        None,
    ],
)
async def test_who_says_that_it_is_another_is_not_believed(
    issuer: Issuer, web: Web, told: Any
) -> None:
    web.at[ISSUER + DISCOVERY] = told
    with pytest.raises(IssuerUnreachable):
        await issuer.principal(web.issued.token())
    assert KEYS_AT not in web.asked


async def test_no_keys_at_all_change_nothing(issuer: Issuer, web: Web, clock: Clock) -> None:
    token = web.issued.token()
    await issuer.principal(token)
    web.at[KEYS_AT] = {"keys": []}
    clock.s += FRESH_S + 1
    for _ in range(3):
        assert await issuer.principal(token) == "alice"
        await settled()


async def test_a_caller_that_leaves_does_not_end_the_question(issuer: Issuer, web: Web) -> None:
    web.gate = asyncio.Event()
    leaving = asyncio.create_task(issuer.principal(web.issued.token()))
    await web.entered.wait()
    staying = asyncio.create_task(issuer.principal(web.issued.token()))
    await asyncio.sleep(0)
    leaving.cancel()
    web.gate.set()
    assert await staying == "alice"
    assert len(web.asked) == 2
