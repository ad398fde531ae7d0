"""Dead letters that nobody wants any more: gone from every list, and from the broker in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from modelmora.deadletters.letters import DeadLetter, Letters
from modelmora.errors import Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import WAIT_S, explain
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_topic
from modelmora.kafka.reading.reader import Place
from modelmora.kafka.writing.producing import producer_config
from modelmora.messages.headers import PURGE_OF
from modelmora.settings import Settings

WRITE_S = 8.0


def purge(settings: Settings, letters: Letters, chosen: Sequence[DeadLetter]) -> int:
    """Purge these letters; how many of them the broker has removed already.

    (1) Each gets a note on its partition, a record without a value, by which it is known as gone:
        a log loses records at its beginning only.
    (2) So each partition is cut up to its first letter that is left. What lies behind that goes
        with it, or by its age.

    Killed in between it may be called again. Raises Unreachable, WrongCredentials, ModelMoraError.
    """
    ends = letters.ends()
    try:
        # (1)
        _note(settings, chosen)
        # (2)
        left = letters.survey(lambda _: True).letters
        cuts = {each.place[:2]: ends[each.place[:2]] for each in chosen}
        for letter in left:
            place = letter.place[:2]
            if place in cuts:
                cuts[place] = min(cuts[place], letter.place[2])
        _cut(settings, cuts)
    except KafkaException as error:
        raise explain(error, bootstrap_servers(settings)) from None
    return sum(each.place[2] < cuts[each.place[:2]] for each in chosen)


def _note(settings: Settings, chosen: Sequence[DeadLetter]) -> None:
    producer = Producer(producer_config(settings, WRITE_S))
    faults: Counter[KafkaError] = Counter()

    def report(error: KafkaError | None, _: Message) -> None:
        if error:
            faults[error] += 1

    for letter in chosen:
        topic, partition, offset = letter.place
        headers: list[tuple[str, str | bytes | None]] = [(PURGE_OF, b"%d %d" % (partition, offset))]
        key = letter.request_id.encode() or None
        producer.produce(topic, None, key, partition, report, headers=headers)
        producer.poll(0)
    if producer.flush(2 * WRITE_S):
        raise Unreachable("the broker does not take notes on the dead letters; try again")
    for error in faults:
        if is_denial(error):
            raise not_allowed(on_topic(Operation.WRITE, chosen[0].place[0]))
        raise KafkaException(error)


def _cut(settings: Settings, cuts: dict[Place, int]) -> None:
    client = AdminClient(confluent_config(settings))
    wanted = [TopicPartition(*place, offset) for place, offset in cuts.items()]
    for place, future in client.delete_records(wanted, request_timeout=WAIT_S).items():
        try:
            future.result(WAIT_S)
        except KafkaException as error:
            if is_denial(error):
                raise not_allowed(on_topic(Operation.DELETE, place.topic)) from None
            raise
