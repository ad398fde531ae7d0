"""The labels of classifiers as ratings: who may see an image."""

from __future__ import annotations

from collections.abc import Mapping

from modelmora.settings import Rating

COMMON: Mapping[Rating, tuple[str, ...]] = {
    Rating.PG: ("drawings", "g", "general", "neutral", "normal", "pg", "safe", "sfw"),
    Rating.PG_13: ("pg_13", "sensitive", "suggestive"),
    Rating.R: ("questionable", "r", "sexy"),
    Rating.X: ("explicit", "hentai", "nsfw", "porn", "unsafe", "x"),
    Rating.XXX: ("xxx",),
}
"""The labels of classifiers that are at hand on the hub."""
_COMMON = {label: rating for rating, labels in COMMON.items() for label in labels}


def rating_of(label: str, told: Mapping[str, Rating]) -> Rating | None:
    """What a label says of an image; capitals, blanks and hyphens do not count.

    `told` goes before what is common; None: neither knows it.
    """
    known = {**_COMMON, **{_plain(each): rating for each, rating in told.items()}}
    return known.get(_plain(label))


def _plain(label: str) -> str:
    return label.strip().casefold().replace("-", "_").replace(" ", "_")
