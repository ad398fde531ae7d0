"""What has become of topics of late: made anew, or of another number of partitions."""

from __future__ import annotations

from collections.abc import Mapping

from modelmora.kafka.pulse import Shape
from modelmora.text import counted, duration

TOLD_S = 60.0


class Changes:
    """Pure: is shown how topics lie, and says for TOLD_S what has changed. Times in seconds."""

    def __init__(self) -> None:
        self._last: dict[str, Shape] = {}
        self._told: dict[str, tuple[float, str]] = {}

    def look(self, shapes: Mapping[str, Shape], now: float) -> None:
        """Take in how they lie now; one that is gone is compared with what comes in its place."""
        for topic, shape in shapes.items():
            last = self._last.get(topic, shape)
            if last.id != shape.id:
                self._told[topic] = now, f"{topic} was made anew, what lay there is gone"
            elif last.partitions != shape.partitions:
                count = counted(shape.partitions, "partition")
                self._told[topic] = now, f"{topic} has {count} and had {last.partitions}"
            self._last[topic] = shape
        self._told = {each: told for each, told in self._told.items() if now - told[0] < TOLD_S}

    def said(self, now: float) -> str | None:
        """What has changed, the latest first; None where nothing has of late."""
        latest = sorted(self._told.values(), reverse=True)
        told = (f"{what} ({duration(1000 * (now - at))} ago)" for at, what in latest)
        return "; ".join(told) or None
