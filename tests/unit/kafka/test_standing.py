"""Which clients are held: one that was left behind for an answer until that, and no other."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from modelmora.errors import Unreachable
from modelmora.kafka.reading import standing
from modelmora.kafka.reading.standing import Standing
from modelmora.settings import Settings


class Admin:
    """Knows its brokers; what it says of a group is `answer`.

    Nobody asks it for the cluster: that would end the process at a broker that has just started.
    """

    def __init__(self, answer: Future[str]) -> None:
        self._answer = answer

    def list_topics(self, _topic: str, _timeout: float) -> None:
        pass

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[str]]:
        return dict.fromkeys(groups, self._answer)


def answered() -> Future[str]:
    future: Future[str] = Future()
    future.set_result("described")
    return future


def test_a_client_left_behind_is_let_go_once_it_has_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing, "ANSWER_S", 0)
    late: Future[str] = Future()
    left = Admin(late)
    asked = Standing(Settings())
    asked.__dict__["_admin"] = left
    with pytest.raises(Unreachable):
        asked.members("g")
    asked.renew()
    held = weakref.ref(left)
    del left
    gc.collect()
    assert held() is not None
    late.set_result("late")
    asked.__dict__["_admin"] = Admin(answered())
    assert asked.members("g") == "described"
    gc.collect()
    assert held() is None


def test_a_client_that_failed_is_let_go_without_the_collector() -> None:
    refused: Future[str] = Future()
    refused.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    failed = Admin(refused)
    asked = Standing(Settings())
    asked.__dict__["_admin"] = failed
    held = weakref.ref(failed)
    del failed, refused
    gc.disable()  # as good as off in a node
    try:
        with pytest.raises(KafkaException):
            asked.members("g")
        asked.renew()
        assert held() is None
    finally:
        gc.enable()
