"""Dead letters that nobody wants any more: gone from every list, and from the broker in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from modelmora.deadletters.letters import DeadLetter, Letters
from modelmora.errors import ModelMoraError, Unreachable
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import WAIT_S, explain
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, not_allowed, on_topic
from modelmora.kafka.reading.reader import Place
from modelmora.kafka.writing.producing import producer_config
from modelmora.messages.headers import PURGE_OF
from modelmora.settings import Settings
from modelmora.text import counted

WRITE_S = 8.0


def purge(settings: Settings, letters: Letters, chosen: Sequence[DeadLetter]) -> int:
    """Purge these letters; how many of them the broker has removed already.

    (1) Each partition is cut where it begins, which changes nothing, and is refused where we may
        not delete: so what is denied is known before anything is done.
    (2) Each letter gets a note on its partition, a record without a value, by which it is known as
        gone: a log loses records at its beginning only.
    (3) So each partition is cut up to its first letter that is left. What lies behind that goes
        with it, or by its age.

    Killed in between it may be called again. Raises Unreachable, WrongCredentials, ModelMoraError,
    which say how much is done where that is not nothing.
    """
    bounds = letters.bounds()
    places = {each.place[:2] for each in chosen}
    noted: list[DeadLetter] = []
    try:
        # (1)
        _cut(settings, {place: bounds[place][0] for place in places})
        # (2)
        _note(settings, chosen, noted)
        # (3)
        left = letters.survey(lambda _: True).letters
        cuts = {place: bounds[place][1] for place in places}
        for letter in left:
            place = letter.place[:2]
            if place in cuts:
                cuts[place] = min(cuts[place], letter.place[2])
        _cut(settings, cuts)
    except KafkaException as error:
        raise _so_far(explain(error, bootstrap_servers(settings)), noted, chosen) from None
    except ModelMoraError as error:
        raise _so_far(error, noted, chosen) from None
    return sum(each.place[2] < cuts[each.place[:2]] for each in chosen)


def _so_far(
    error: ModelMoraError, noted: Sequence[DeadLetter], chosen: Sequence[DeadLetter]
) -> ModelMoraError:
    """The error, with what is done all the same."""
    if noted:
        done = f"{len(noted)} of {counted(len(chosen), 'dead letter')} are in no list any more"
        error.args = (f"{error}; {done}, and what the broker still holds of them goes by its age",)
    return error


def _note(settings: Settings, chosen: Sequence[DeadLetter], noted: list[DeadLetter]) -> None:
    """Write them; `noted` are those whose note is there."""
    producer = Producer(producer_config(settings, WRITE_S))
    faults: Counter[KafkaError] = Counter()

    def report(letter: DeadLetter, error: KafkaError | None, _: Message) -> None:
        if error:
            faults[error] += 1
        else:
            noted.append(letter)

    for letter in chosen:
        topic, partition, offset = letter.place
        headers: list[tuple[str, str | bytes | None]] = [(PURGE_OF, b"%d %d" % (partition, offset))]
        key = letter.request_id.encode() or None
        told = partial(report, letter)
        producer.produce(topic, None, key, partition, told, headers=headers)
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
