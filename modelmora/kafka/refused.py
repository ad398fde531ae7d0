"""That a broker refuses who we are: told between a client's answers, whose calls just time out."""

from __future__ import annotations

from confluent_kafka import KafkaError

from modelmora.errors import WrongCredentials

_SAID = {
    "certificate verify failed": "the broker's certificate is not trusted, or not that of the host "
    "that was named; check kafka.ssl_cafile",
    "SSL alert number": "the broker refuses our certificate; check kafka.ssl_certfile and "
    "ssl_keyfile, and that it has not expired",
    "connecting to a PLAINTEXT broker listener": "the broker speaks no TLS at that address; check "
    "kafka.security_protocol",
}
"""What OpenSSL and librdkafka say, in our words."""


class Refusals:
    """What one client has heard; its `error_cb` is `on_error`, which holds no client."""

    def __init__(self) -> None:
        self.error: WrongCredentials | None = None

    def on_error(self, error: KafkaError) -> None:
        """Called by poll(), with all that goes wrong."""
        if error.code() == KafkaError._AUTHENTICATION:
            self.error = WrongCredentials()
        elif error.code() in (KafkaError._SSL, KafkaError._TRANSPORT):
            told = error.str()
            ours = next((ours for theirs, ours in _SAID.items() if theirs in told), None)
            if ours:
                self.error = WrongCredentials(ours)
