"""Faust as we use it: the private names that we rely on, and the fault that made us."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from importlib.metadata import version

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.consumer import Consumer as AnyConsumer
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from modelmora.agents.app import Consumer, NodeApp, build_app
from modelmora.agents.intake import Intake
from modelmora.settings import Settings

PARTITION = TP("lane", 0)


async def nothing(*_: object) -> None:
    """A hook."""


@pytest.fixture
async def app() -> AsyncIterator[NodeApp]:
    settings = Settings(bootstrap_servers="127.0.0.1:1", namespace="ns", dynamic_member=True)
    made = build_app(settings, Intake(settings.limits, {}), nothing, nothing, nothing)
    yield made
    made.consumer._thread.thread_loop.close()


def test_the_release_that_was_read() -> None:
    assert version("faust-streaming").startswith("0.15.3")
    assert version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.Consumer, "_get_active_partitions"),
        (driver.Consumer, "_getmany"),
        (driver.Consumer, "_to_message"),
        (driver.Consumer, "force_commit"),
        (driver.Consumer, "getmany"),
        (driver.Consumer, "verify_all_partitions_active"),
        (driver.AIOKafkaConsumerThread, "call_thread"),
        (GroupCoordinator, "fetch_committed_offsets"),
        (AIOKafkaConsumer, "seek"),
        (AIOKafkaConsumer, "position"),
    ],
)
def test_the_names_are_there(owner: type, name: str) -> None:
    assert callable(getattr(owner, name))


def test_the_arguments_are_as_they_were() -> None:
    assert list(inspect.signature(AnyConsumer.getmany).parameters) == ["self", "timeout"]
    commit = inspect.signature(AnyConsumer.force_commit).parameters
    assert list(commit) == ["self", "topics", "start_new_transaction"]
    assert list(inspect.signature(GroupCoordinator.fetch_committed_offsets).parameters) == [
        "self",
        "partitions",
    ]


async def test_the_attributes_are_there(app: NodeApp) -> None:
    consumer = app.consumer
    assert isinstance(consumer, Consumer)
    assert isinstance(consumer, ThreadDelegateConsumer)
    assert isinstance(consumer._thread, driver.AIOKafkaConsumerThread)
    assert consumer._thread._consumer is None
    assert dict(consumer._read_offset) == {}
    assert consumer.flow_active is True
    assert "_coordinator" in inspect.getsource(AIOKafkaConsumer.__init__) + inspect.getsource(
        AIOKafkaConsumer.start
    )


async def test_every_commit_goes_through_force_commit() -> None:
    """Ours is then the only door; Faust's own would erase the metadata."""
    source = inspect.getsource(AnyConsumer.commit)
    assert "force_commit" in source
    assert "_commit_tps" not in source


async def test_no_acks_and_no_waiting_for_them(app: NodeApp) -> None:
    assert app.conf.stream_wait_empty is False
    assert app.conf.broker_max_poll_interval == 7 * 86_400
    (agent,) = app.agents.values()
    assert agent.channel.acks is False
    assert len(agent.channel.topics) == 4


async def test_faust_still_commits_past_an_unfinished_offset() -> None:
    """When this fails Faust has been mended: see whether the ledger may become simpler."""
    loop = asyncio.get_running_loop()
    app = faust.App("acks", broker="kafka://127.0.0.1:1", web_enabled=False, loop=loop)
    consumer = app.consumer
    consumer._committed_offset[PARTITION] = 0
    consumer._acked[PARTITION].extend([2, 3])
    consumer._acked_index[PARTITION].update([2, 3])
    consumer._thread.thread_loop.close()
    assert consumer._new_offset(PARTITION) == 4, "offsets 0 and 1 have not been acknowledged"
