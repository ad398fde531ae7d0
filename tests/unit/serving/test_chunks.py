"""What a request tells while it runs reaches its caller, and the child that runs it next."""

from __future__ import annotations

from typing import cast

from modelmora.testing.fakes import incoming
from modelmora.workers import NOTHING_TOLD, Chunk, ExitReason, MetaLike
from tests.unit.serving.rig import Hall, model


async def test_chunks_reach_who_asked_and_the_next_child_knows_of_them() -> None:
    hall = Hall()
    hall.service.serve([model("count")])
    asked = incoming("r1", "count", progress=True)
    hall.service.accept(asked)
    hall.service.accept(incoming("r2", "count"))
    hall.workers.loaded()
    chunks = [Chunk(0, 0, "one "), Chunk(0, 1, "two"), Chunk(0, 0)]
    for group in hall.workers.groups:
        for chunk in chunks:
            hall.service.listener.on_chunk(group.replica, group.id, chunk)
    assert hall.outcomes.chunks == [("r1", 1, chunk) for chunk in chunks[:2]]
    hall.exited(ExitReason.CRASHED)
    hall.workers.loaded()
    again = hall.workers.groups[-1]
    assert [work.meta for work in again.works] == [asked]
    assert asked.told == NOTHING_TOLD.and_then(chunks[0]).and_then(chunks[1])
    assert (asked.told.chunks, asked.told.chars) == (2, 7)
    hall.service.listener.on_chunk(again.replica, again.id, Chunk(0, 2, "!"))
    assert hall.outcomes.chunks[-1] == ("r1", 2, Chunk(0, 2, "!"))


async def test_an_engine_is_given_the_defaults_too() -> None:
    hall = Hall()
    hall.service.serve([model("count")])
    hall.service.accept(incoming("r1", "count", parameters={"words": 3}))
    hall.workers.loaded()
    (group,) = hall.workers.groups
    (work,) = group.works
    assert cast("MetaLike", work.meta).parameters == {"words": 3, "ms": 1.0, "fault": "crash"}
