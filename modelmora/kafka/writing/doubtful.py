"""Transactions that another producer has left: ends them, and tells how one of them ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress

from confluent_kafka import KafkaException, Producer

from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.refused import Refusals
from modelmora.kafka.writing.books import Dues
from modelmora.kafka.writing.producing import START_S
from modelmora.settings import Settings


def begin(producer: Producer, heard: Refusals, step_s: float, ending: Callable[[], bool]) -> None:
    """Take over the transactional id: what its former bearer left open is ended.

    Raises KafkaException, and what was `heard` of a broker that refuses. Blocking.
    """
    until = time.monotonic() + START_S
    while True:
        try:
            producer.init_transactions(step_s)
        except KafkaException as error:
            with suppress(KafkaException):  # the same again, where it is fatal
                producer.poll(0)
            if heard.error:
                raise heard.error from None
            if not error.args[0].retriable() or time.monotonic() > until or ending():
                raise
        else:
            return


def went_through(settings: Settings, dues: Dues) -> bool:
    """Whether the group has what was to be committed with it, once nothing of it is open.

    One partition tells, for they are committed together, and another may have a new owner by now,
    which has committed more. Waits for an open transaction. Raises KafkaException. Blocking.
    """
    with closing(Standing(settings)) as standing:
        found = standing.committed(dues)
    return any(found.get(each) == (due.offset, due.metadata) for each, due in dues.items())
