"""Settings of traces."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from modelmora.settings.section import Section

CollectorUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^https?://([^\s/:?#@\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^\s?#]*)?$"
    ),
    Field(json_schema_extra={"form": "http://host:port or https://host:port, perhaps with a path"}),
]


class TracingSettings(Section):
    """Traces of requests, sent to a collector."""

    endpoint: CollectorUrl | None = Field(
        None,
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
