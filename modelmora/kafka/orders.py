"""What became of an order to load, unload, pin or unpin a model, read from the events after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelmora.messages import ControlVerb, EventKind, LifecycleEvent, State

HEARD_S = 5.0
"""How long a node may take to say that it has heard of an order."""
_THERE = {State.READY}
_GONE = {State.COLD, State.FAILED, State.QUARANTINED}
_FAILED = {State.FAILED, State.QUARANTINED}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one node made of an order: where the model stands there, or why it was not obeyed."""

    node: str
    model: str
    state: State | None
    reason: str | None = None
    done: bool = False
    """Nothing more is to come of it; well, unless `reason` says why not."""


@dataclass(slots=True)
class Order:
    """One command on `control` at its offset, and what nodes have told since."""

    verb: ControlVerb
    offset: int
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """By node and name@version: a name may mean several."""
    expected: int = 1
    """How many answers there will be, going by the last that came."""

    @property
    def heard(self) -> bool:
        """Whether every node that is to answer has."""
        return len(self.answers) >= self.expected

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.heard and all(each.done for each in self.answers.values())

    def told(self) -> list[Answer]:
        """What nodes have answered, by name and model."""
        return [self.answers[place] for place in sorted(self.answers)]

    def take(self, event: LifecycleEvent) -> None:
        """Take an event, in the order of its partition.

        (1) A node's answer to this command.
        (2) What came of it later on a node that has answered.
        """
        model = f"{event.model}@{event.version}"
        place = event.node, model
        # (1) An answer.
        if event.kind is EventKind.ANSWERED:
            if event.facts.get("command_offset") == self.offset:
                nodes = event.facts.get("nodes")
                self.expected = nodes if isinstance(nodes, int) else 1
                self.answers[place] = self._first(event, model)
            return
        # (2) Its end.
        before = self.answers.get(place)
        if before and not before.done:
            self.answers[place] = self._later(event, before)

    def _first(self, event: LifecycleEvent, model: str) -> Answer:
        told, reason = event.facts.get("state"), _words(event)
        if told is None:
            return Answer(event.node, model, None, reason, done=True)
        state = State(str(told))
        if self.verb in (ControlVerb.LOAD, ControlVerb.WARM_UP):
            failed = state in _FAILED
            return Answer(
                event.node, model, state, reason if failed else None, state in _THERE or failed
            )
        waits = self.verb is ControlVerb.UNLOAD and state not in _GONE
        return Answer(event.node, model, state, None, not waits)

    def _later(self, event: LifecycleEvent, before: Answer) -> Answer:
        node, model = before.node, before.model
        loads = self.verb is not ControlVerb.UNLOAD
        match event.kind:
            case EventKind.LOADING:
                return Answer(node, model, State.LOADING)
            case EventKind.LOADED:
                return Answer(node, model, State.READY, done=loads)
            case EventKind.LOAD_FAILED if loads:
                return Answer(node, model, State.FAILED, _words(event), done=True)
            case EventKind.QUARANTINED if loads:
                return Answer(node, model, State.QUARANTINED, _words(event), done=True)
            case EventKind.UNLOADED if loads and event.facts.get("reason") == "unload":
                return Answer(node, model, State.COLD, "its load was cancelled", done=True)
            case EventKind.UNLOADED | EventKind.CRASHED if not (
                loads or event.facts.get("replicas")
            ):
                return Answer(node, model, State.COLD, done=True)
        return before


def _words(event: LifecycleEvent) -> str | None:
    message = event.facts.get("message")
    return None if message is None else str(message)
