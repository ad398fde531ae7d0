"""What is left of a caller's budgets, in the header fields of IETF's RateLimit draft."""

from __future__ import annotations

import math
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from modelmora.access.budgets import Bucket
from modelmora.settings.budgets import PER_S, UNITS

START = "http.response.start"


def telling(charged: Iterable[Bucket], send: Send) -> Send:
    """A `send` that tells with the head of the answer from what its call was charged by then."""

    async def told(message: Message) -> None:
        if message["type"] == START and (buckets := [*charged]):
            headers = MutableHeaders(scope=message)
            headers["ratelimit-policy"] = ", ".join(map(_policy, buckets))
            headers["ratelimit"] = ", ".join(_left(each) for each in buckets)
        await send(message)

    return told


def _policy(bucket: Bucket) -> str:
    rate = bucket.rate
    unit = f';qu="{UNITS[bucket.unit]}"'
    return f'"{bucket.name}";q={rate.amount}{unit};w={PER_S[rate.per]}'


def _left(bucket: Bucket) -> str:
    """As it was when the call was charged; `t` is when all of it will be there again (s)."""
    left = max(0, math.floor(bucket.level))
    full_s = math.ceil((bucket.most - bucket.level) / bucket.per_s)
    return f'"{bucket.name}";r={left};t={full_s}'
