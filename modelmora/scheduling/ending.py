"""How works end that get no answer from their child: late, given up, refused."""

from __future__ import annotations

from collections.abc import Mapping

from modelmora.errors import Code
from modelmora.scheduling.admission import outcome, unloadable
from modelmora.scheduling.book import Book
from modelmora.scheduling.effects import Effects
from modelmora.scheduling.line.work import Work
from modelmora.scheduling.model import ModelKey
from modelmora.scheduling.state import Model


class Endings:
    """The scheduler's own part: the works that still owe an outcome, and those that get it here."""

    def __init__(self, effects: Effects, models: Mapping[ModelKey, Model]) -> None:
        self.book = Book()
        self._effects = effects
        self._models = models

    def late(self, now: float) -> None:
        """Answer what is late, wherever it is."""
        if self.book.next_deadline() > now:
            return
        for work in self.book.expired(now):
            self.end(work, Code.EXPIRED, "its deadline has passed", now)

    def end(self, work: Work, code: Code, message: str, now: float) -> None:
        """Answer an open work, wherever it is."""
        self.abandon(work, now)
        self.fail(work, code, message)

    def abandon(self, work: Work, now: float) -> None:
        """Take an open work out of its queue or its child; the caller gives its outcome, if any."""
        self.book.close(work)
        model = self._models[work.model]
        if work.group is None:
            model.queue.lanes[work.lane].remove(work)
        else:
            child = next(one for one in model.replicas.values() if work.group in one.runs)
            run = child.runs[work.group]
            del run.open[work.index]
            run.taken.add(work.index)
            if run in child.under_way and not child.runs_for_somebody:
                child.heard = now
            self._effects.cancel(work.group, work.index)

    def refuse(
        self, model: Model, code: Code, message: str, retry_after_ms: int | None = None
    ) -> None:
        """Answer all that waits for the model."""
        for work in model.queue.works():
            self.book.close(work)
            model.queue.lanes[work.lane].remove(work)
            self._effects.failed(work, outcome(work, code, message, retry_after_ms))

    def refuse_broken(self, model: Model) -> None:
        """Answer all that waits for a model that only other files can mend."""
        if why := unloadable(model):
            self.refuse(model, Code.CANNOT_BE_SERVED, why)

    def give_up(self, work: Work, code: Code, message: str) -> None:
        """Answer an open work that is in no queue and no child."""
        self.book.close(work)
        self.fail(work, code, message)

    def fail(self, work: Work, code: Code, message: str) -> None:
        """Answer a work that is closed."""
        self._effects.failed(work, outcome(work, code, message))
