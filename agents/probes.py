"""Probes: answered where they are read, before any line, and told to nobody but who asked."""

from __future__ import annotations

from contextlib import suppress

from modelmora.access.signing import Verifier
from modelmora.agents.results import Owned, Sender
from modelmora.errors import Undecodable
from modelmora.kafka.probes import MODEL, asks_only, is_probe
from modelmora.kafka.writing.publisher import Answer, Dropped, Ends, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import ResultHead, Source, Status
from modelmora.messages.headers import PROBE, header_of
from modelmora.serving import BrokerClock, Record
from modelmora.serving.request import reply_partition
from modelmora.wire import decode_request_head, encode_result_head
from modelmora.wire.codec import NO_OUTPUTS


class Probes:
    """Writes their answers to `results` as outcomes are written, so that both take one path.

    Nothing else hears of them: no metric, budget, event or log.
    """

    def __init__(
        self, sender: Sender, owned: Owned, clock: BrokerClock, results: str, verifier: Verifier
    ) -> None:
        self._sender = sender
        self._owned = owned
        self._clock = clock
        self._results = results
        self._verifier = verifier

    def takes(self, record: Record) -> bool:
        """Answer a record that is a probe; False: it is to be judged as any other."""
        if not asks_only(record):
            return False
        with suppress(Undecodable):
            request_id = decode_request_head(record.value).request_id
            if is_probe(record, request_id, self._verifier):
                self._answer(record, request_id)
                return True
        return False

    def _answer(self, record: Record, request_id: str) -> None:
        source = Source(record.topic, record.partition, record.offset)
        head = ResultHead(request_id, Status.COMPLETED, MODEL, "", source)

        def done(answer: Answer) -> None:
            if isinstance(answer, Written):
                place = self._results, answer.partition
                self._clock.acknowledged(answer.timestamp, place, answer.offset)
            if not isinstance(answer, Dropped):
                self._owned.done(record)

        value, key = encode_result_head(head, NO_OUTPUTS), request_id.encode()
        headers = ((PROBE, header_of(record.headers, PROBE)),)
        answer = Outgoing(self._results, key, value, done, headers, reply_partition(record))
        answer.ends = Ends((record.topic, record.partition), record.epoch, record.offset)
        answer.wanted = lambda: self._owned.owes(record)
        self._sender.send(answer)
