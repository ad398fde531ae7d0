"""Which topics a pulse sees: all that there are, and of some those that it may see."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from modelmora.client.kafka.aio import AsyncKafkaClient
from modelmora.errors import WrongCredentials
from modelmora.kafka import pulse as module
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.topics import lane_topics
from modelmora.messages import Lane
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.topics import until

SETTINGS = Settings(bootstrap_servers="127.0.0.1:1")
MAY_NOT = KafkaError.TOPIC_AUTHORIZATION_FAILED


class Brokers:
    """They answer for each topic with its partitions, or with an error."""

    def __init__(self, answers: dict[str, int | KafkaException]) -> None:
        self.answers = answers
        self.told: Callable[[KafkaError], None] = lambda _: None
        self.refusing = False

    def poll(self, _: float) -> None:
        if self.refusing:
            self.told(KafkaError(KafkaError._AUTHENTICATION))

    def describe_topics(self, _: object, **__: object) -> dict[str, Future[Any]]:
        asked: dict[str, Future[Any]] = {name: Future() for name in self.answers}
        for name, answer in self.answers.items():
            if isinstance(answer, KafkaException):
                asked[name].set_exception(answer)
            else:
                places = [SimpleNamespace(id=n, leader=None) for n in range(answer)]
                asked[name].set_result(SimpleNamespace(topic_id="id", partitions=places))
        return asked


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers({"results": 3, "registry": KafkaException(KafkaError(MAY_NOT))})

    def client(config: dict[str, Any]) -> Brokers:
        made.told = config["error_cb"]
        return made

    monkeypatch.setattr(module, "AdminClient", client)
    return made


async def test_a_topic_that_may_be_hidden_is_not_there(brokers: Brokers) -> None:
    pulse = Pulse(SETTINGS, ["results"], ["registry"])
    await pulse.start()
    assert pulse.shapes == {"results": Shape("id", 3)}
    await pulse.stop()
    brokers.answers["registry"] = 1
    await pulse.start()
    assert pulse.shapes == {"results": Shape("id", 3), "registry": Shape("id", 1)}
    await pulse.stop()


async def test_a_client_that_may_not_see_the_registry_writes_by_key(brokers: Brokers) -> None:
    """A right that a producer had no need of before any model was spread."""
    denied = KafkaException(KafkaError(MAY_NOT))
    client = AsyncKafkaClient("127.0.0.1:1")
    lanes = dict.fromkeys(lane_topics(client.settings), denied)
    brokers.answers = {"modelmora.results": 3, "modelmora.registry": denied, **lanes}
    await client._pulse.start()
    assert client._pulse.shapes.keys() == {"modelmora.results"}
    assert client._placing.partition("m", new_request_id(), Lane.NORMAL) is None
    await client._pulse.stop()


async def test_one_that_is_needed_is_missed(brokers: Brokers) -> None:
    with pytest.raises(WrongCredentials):
        await Pulse(SETTINGS, ["results", "registry"]).start()
    brokers.answers = {"results": KafkaException(KafkaError(MAY_NOT))}
    with pytest.raises(WrongCredentials):
        await Pulse(SETTINGS, ["results"], ["registry"]).start()


async def test_that_the_broker_lets_us_in_no_more_is_told_until_it_does(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that was changed: questions only time out, as where no broker is there."""
    monkeypatch.setattr(module, "BEAT_S", 0.0)
    pulse = Pulse(SETTINGS, ["results"], ["registry"])
    await pulse.start()
    assert pulse.refused is None
    brokers.answers["results"] = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    await until(lambda: not pulse.alive)
    assert pulse.refused is None
    brokers.refusing = True
    await until(lambda: pulse.refused is not None)
    assert "refuses these credentials" in str(pulse.refused)
    brokers.refusing, brokers.answers["results"] = False, 3
    await until(lambda: pulse.alive)
    assert pulse.refused is None
    await pulse.stop()
