"""What a transaction commits beside its outcomes, and what is left to be committed."""

from __future__ import annotations

import pytest

from modelmora.agents.partitions.books import Books
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.ledger import read_metadata
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.writing.books import Due
from modelmora.kafka.writing.outbox import Ends, Record
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord

SETTINGS = Settings(bootstrap_servers="127.0.0.1:1")
TOPIC = "modelmora.requests.normal"
A, B = (TOPIC, 0), (TOPIC, 1)


class Desk:
    def __init__(self) -> None:
        self.intake = Intake(SETTINGS.limits, lane_topics(SETTINGS))
        self.books = Books(self.intake, lambda: 5, "g.n1")
        for partition in (A, B):
            self.intake.assign(partition, 3, 0)
            for offset in range(3):
                self.intake.begin(request(offset, partition))

    def done(self, *offsets: int, partition: tuple[str, int] = A) -> None:
        for offset in offsets:
            self.intake.done(request(offset, partition))


def request(offset: int, partition: tuple[str, int] = A) -> FakeRecord:
    return FakeRecord(*partition, offset, epoch=3)


def outcomes(*offsets: int) -> list[Record]:
    ends = [Ends(A, 3, offset) for offset in offsets]
    return [Record("results", b"", b"", lambda _: None, ends=each) for each in ends]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_transaction_commits_what_its_outcomes_and_others_have_changed(desk: Desk) -> None:
    desk.done(0, partition=B)
    dues = desk.books.dues(outcomes(0, 2))
    assert dues == {A: Due(3, 1, dues[A].metadata), B: Due(3, 1, "mm2:5::g.n1")}
    assert read_metadata(1, dues[A].metadata) == (5, (2,), "g.n1", None)
    assert desk.intake.owes(request(0)), "nothing is done before the transaction is"
    desk.done(0, 2)
    desk.books.paid(dues)
    assert desk.intake.is_committed


def test_what_changed_beside_a_transaction_is_still_to_be_committed(desk: Desk) -> None:
    dues = desk.books.dues(outcomes(0))
    desk.done(0, 1)
    desk.books.paid(dues)
    assert not desk.intake.is_committed
    assert desk.books.dues([]) == {A: Due(3, 2, "mm2:5::g.n1")}


def test_what_a_transaction_without_success_would_have_committed_is_due_again(desk: Desk) -> None:
    assert desk.books.dues(outcomes(0)) == desk.books.dues(outcomes(0))
    assert desk.books.dues([]) == {}


def test_what_was_given_back_meanwhile_is_nobody_s_business(desk: Desk) -> None:
    dues = desk.books.dues(outcomes(0))
    desk.intake.revoke([A, B])
    desk.books.paid(dues)
    assert desk.intake.is_committed
    desk.intake.assign(A, 4, 0)
    desk.intake.claim(A)
    assert desk.books.dues([]) == {A: Due(4, 0, "mm2:5::g.n1")}
