"""The rules of fair turns written a second time, plainly: all is looked through each time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from modelmora.scheduling import Policy, Work

CLOSE = 1e-6


def charged(work: Work) -> float:
    return work.cost or 1.0


@dataclass
class Turns:
    """One lane of one model: what each principal has had, while anything waits there."""

    tags: dict[str, float] = field(default_factory=dict)
    credit: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    """What was found out afterwards to have been more."""
    now: float = 0.0
    most: float = 0.0
    exact: bool = True
    """Whether all this is known: not where a group was put back, which is paid, and goes first."""

    def comes(self, principal: str, waiting: Sequence[Work]) -> None:
        """Somebody of whom nothing waits sends something, while these wait."""
        self.reach(waiting)
        self.forget(principal, waiting)
        self.tags[principal] = max(self.tags.get(principal, 0.0), self.now)
        if not waiting:
            self.now = self.tags[principal]

    def forget(self, principal: str, waiting: Iterable[Work]) -> None:
        """Nothing is kept of those of whom nothing waits once their turn would come."""
        lowest = min((self.tags[work.principal] for work in waiting), default=-1.0)
        tag = self.tags.get(principal)
        if tag is not None and abs(tag - lowest) < CLOSE:
            self.exact = False  # rounding decides
        elif tag is not None and tag < lowest:
            del self.tags[principal]
            self.credit.pop(principal, None)

    def reach(self, waiting: Iterable[Work]) -> None:
        lowest = min((self.tags[work.principal] for work in waiting), default=0.0)
        self.now = max(self.now, lowest)

    def takes(self, group: Sequence[Work], waiting: Sequence[Work], policy: Policy) -> None:
        """Check that it is whose turn it is in each place of the group, these included, waiting."""
        self.reach(waiting)
        names = {work.principal for work in waiting}
        start = self.tags[group[0].principal]
        assert start <= min(self.tags[name] for name in names) + CLOSE, "not its turn"
        first = min((w for w in waiting if self.tags[w.principal] <= start), key=lambda w: w.order)
        assert group[0] is first or abs(self.tags[first.principal] - start) < CLOSE
        left = [work for work in waiting if work.batch_key == group[0].batch_key]
        total, size = 0.0, 0
        for work in group:
            lowest = min(self.tags[one.principal] for one in left)
            assert self.tags[work.principal] <= lowest + CLOSE, "out of turn in the group"
            ahead = self.tags[work.principal] - start
            assert ahead <= max(self.most, total) + CLOSE, "it rides in another's turn"
            own = [one.order for one in left if one.principal == work.principal]
            assert work.order == min(own), "arrival order of one principal"
            left.remove(work)
            total, size = total + charged(work), size + work.size
            self.charge(work.principal, charged(work))
        self.check_end(left, start, total, size, len(group), policy)
        self.now = max(self.now, min(self.now + total / len(names), start + total))
        self.most = max(self.most, total)
        self.check_bound([work for work in waiting if work not in group])

    def check_end(
        self, left: list[Work], start: float, total: float, size: int, count: int, policy: Policy
    ) -> None:
        """The group ended where it had to."""
        if not left or count >= policy.group_requests:
            return
        next_ = min(left, key=lambda work: (self.tags[work.principal], work.order))
        ahead = self.tags[next_.principal] > start + max(self.most, total) - CLOSE
        lowest = [w for w in left if self.tags[w.principal] <= self.tags[next_.principal] + CLOSE]
        full = any(size + work.size > policy.group_bytes for work in lowest)
        assert ahead or full, "there was room for more"

    def check_bound(self, waiting: Sequence[Work]) -> None:
        """Nobody who waits is behind another by more than two groups."""
        tags = {work.principal: self.tags[work.principal] for work in waiting}
        for name, tag in tags.items():
            ahead = tag - min(tags.values()) - self.late.get(name, 0.0)
            assert ahead <= 2 * self.most + CLOSE, "passed over for too long"

    def charge(self, principal: str, cost: float) -> None:
        cost -= self.credit.get(principal, 0.0)
        self.credit[principal] = max(0.0, -cost)
        self.tags[principal] += max(0.0, cost)

    def settle(self, works: Sequence[Work], run_ms: float, waiting: Sequence[Work]) -> None:
        """A group of these took so long, and these wait."""
        whole = sum(charged(work) for work in works)
        names = {work.principal for work in waiting}
        self.reach(waiting)
        for name in {work.principal for work in works} - names:
            self.forget(name, waiting)
        for work in works:
            more = charged(work) * (run_ms / whole - 1)
            if work.principal in self.tags:
                before = self.tags[work.principal]
                self.charge(work.principal, more)
                raised = self.tags[work.principal] - before
                self.late[work.principal] = self.late.get(work.principal, 0.0) + raised
