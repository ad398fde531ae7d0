"""Versions that begin to answer for a name are loaded where it is in use, before they are asked."""

from __future__ import annotations

from collections.abc import Container, Mapping

from modelmora.routing import Steps
from modelmora.scheduling import ModelKey


def newcomers(
    before: Mapping[str, Steps], after: Mapping[str, Steps], in_use: Container[str]
) -> list[ModelKey]:
    """What is new in the routes of names that are in use here.

    A change counts after a while only, which is time to load.
    """
    return [
        (name, version)
        for name, steps in sorted(after.items())
        if name in before and name in in_use
        for version in sorted(steps[-1][1].versions - before[name][-1][1].versions)
    ]
