"""What is told to everybody of the models that are served here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from modelmora.messages import Health
from modelmora.scheduling import ModelKey, ModelSpec, ModelStatus
from modelmora.text import printable, shorten

REASON_CHARS = 300


class Offered(NamedTuple):
    """A model that is served here: its task, and how it is."""

    task: str
    health: Health


def offered(
    specs: Mapping[ModelKey, ModelSpec], statuses: Sequence[ModelStatus]
) -> dict[str, Offered]:
    """What is served, by name@version; a model that was removed may still be finishing."""
    return {
        "@".join(status.key): Offered(specs[status.key].task, _told(status.health))
        for status in statuses
        if status.key in specs
    }


def _told(health: Health) -> Health:
    """As it may be told to everybody."""
    if health.reason is None:
        return health
    return replace(health, reason=shorten(printable(health.reason), REASON_CHARS))
