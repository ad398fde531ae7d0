"""One librdkafka producer and the thread that polls it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from modelmora.errors import ConfigurationError
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.refused import Refusals
from modelmora.kafka.topics import DEAD_LETTER_BYTES
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
REQUEST_BYTES = DEAD_LETTER_BYTES + 64 * 1024
BATCH_BYTES = 256 * 1024
"""A record that is larger goes alone."""
POLL_S = 0.1
ASK_S = 0.5
START_S = 10.0
END_S = 1.0


def producer_config(settings: Settings, timeout_s: float) -> dict[str, Any]:
    """An idempotent producer that spreads keys as Java's does, and is quick to see changes."""
    return confluent_config(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "batch.size": BATCH_BYTES,
        "message.max.bytes": REQUEST_BYTES,
        "message.timeout.ms": int(timeout_s * 1000),
        "request.timeout.ms": int(timeout_s * 1000),
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 64 * 1024,
        "allow.auto.create.topics": False,
        "topic.metadata.propagation.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 5_000,
        "socket.nagle.disable": True,
    }


class Client:
    """An idempotent producer; reports and callbacks come in the thread that polls it.

    Raises ConfigurationError where the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        timeout_s: float,
        on_fatal: Callable[[Client], None],
        on_connected: Callable[[bool], None],
    ) -> None:
        self._servers = bootstrap_servers(settings)
        self._on_fatal = on_fatal
        self._on_connected = on_connected
        self._connected = True
        self._heard = Refusals()
        self._doubtful = self._late = self._ending = False
        config = producer_config(settings, timeout_s) | {"error_cb": self._on_error}
        try:
            self._producer = Producer(config)
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None
        self.produce = self._producer.produce
        """As in `confluent_kafka.Producer`; itself, for there is one call for each record."""
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Ask the broker something. Raises Unreachable, WrongCredentials. Blocking."""
        until = time.monotonic() + START_S
        while True:
            try:
                self._producer.list_topics(timeout=1.0)
            except KafkaException as error:
                if self._heard.error:
                    raise self._heard.error from None
                if time.monotonic() >= until:
                    raise explain(error, self._servers) from None
            else:
                return

    def take_back(self) -> None:
        """Give back what has not been sent, and ask whether the broker is there."""
        self._late = True

    def end(self) -> None:
        """Await what is being sent a moment, give all else back, leave nothing. Blocking."""
        self._ending = True
        self._thread.join()

    def _poll(self) -> None:
        while not self._ending:
            self._serve(self._producer.poll, POLL_S)
            if self._late:
                self._late, self._doubtful = False, True
                self._producer.purge(in_flight=False, blocking=False)
            if self._doubtful:
                self._ask()
        self._producer.purge(in_flight=False)
        self._serve(self._producer.flush, END_S)
        self._producer.purge()
        self._serve(self._producer.flush, END_S)
        # Here, for the last reference waits for the threads of librdkafka.
        del self.produce, self._producer

    def _serve(self, call: Callable[[float], object], seconds: float) -> None:
        """Take the reports. What is fatal is raised here, whatever `error_cb` there is."""
        try:
            call(seconds)
        except KafkaException as error:
            log.warning("producer ends", reason=error.args[0].str())
            if not self._ending:
                self._on_fatal(self)

    def _ask(self) -> None:
        try:
            self._producer.list_topics(timeout=ASK_S)
        except KafkaException:
            self._turn(connected=False)
        else:
            self._doubtful = False
            self._turn(connected=True)

    def _turn(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._on_connected(connected)

    def _on_error(self, error: KafkaError) -> None:
        self._heard.on_error(error)
        self._doubtful |= error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION)


def in_time(call: Callable[[], object], seconds: float) -> None:
    """Call in a thread that is left behind, with what it holds, where it does not return.

    Raises concurrent.futures.TimeoutError, and what the call raises.
    """
    ended: Future[object] = Future()

    def run() -> None:
        try:
            ended.set_result(call())
        except Exception as error:  # noqa: BLE001 - it is the caller's
            ended.set_exception(error)

    threading.Thread(target=run, name="in-time", daemon=True).start()
    ended.result(seconds)
