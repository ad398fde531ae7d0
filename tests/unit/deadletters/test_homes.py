"""To which partition a dead letter goes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from modelmora.deadletters.letters import DeadLetter, Letters
from modelmora.deadletters.replays import BY_KEY, Replayer, Rerun
from modelmora.errors import NotFound
from modelmora.kafka.reading.shown import Reader
from modelmora.settings import Settings


class Lanes:
    """There is one, of two partitions."""

    def places(self, topic: str) -> list[tuple[str, int]]:
        if topic != "low":
            raise NotFound(f"there is no topic {topic}")
        return [("low", 0), ("low", 1)]


def test_it_goes_back_where_it_lay_as_far_as_that_is_there() -> None:
    """A lane that is gone is told by the broker, of its own letters alone."""
    settings = Settings(bootstrap_servers="127.0.0.1:1")
    replayer = Replayer(settings, cast("Reader", Lanes()), cast("Letters", None))
    for topic, number, home in (("low", 1, 1), ("low", 2, BY_KEY), ("gone", 0, BY_KEY)):
        letter = cast("DeadLetter", SimpleNamespace(source=(topic, number, 7)))
        assert replayer._home(Rerun([letter])) == (topic, home)
