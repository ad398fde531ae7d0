"""Settings of traces."""

from __future__ import annotations

from pydantic import Field

from modelmora.settings.section import Section


class TracingSettings(Section):
    """Traces of requests, sent to a collector."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]\S*$",
        description="where spans go, by OTLP over HTTP, such as `http://localhost:4318`; "
        "none = nowhere",
    )
    share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="how many of the traces that begin here are recorded; one that a caller began "
        "is recorded where the caller says so",
    )
