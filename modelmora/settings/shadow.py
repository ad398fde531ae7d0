"""Settings of copies of requests, by which a version is tried that answers nobody."""

from __future__ import annotations

from pydantic import Field

from modelmora.settings.kinds import YEAR_S
from modelmora.settings.section import Section


class ShadowSettings(Section):
    """Copies of requests for versions that are compared."""

    share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="how much of a node's time copies may compute, behind all requests; 0 = none "
        "is run",
    )
    kept_s: float = Field(
        3600,
        gt=0,
        le=YEAR_S,
        description="how long a copy may wait before it is dropped",
    )
