"""Ids of a schema registry: learnt at the start, asked for once, never decoded wrongly."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from modelmora import wire
from modelmora.errors import (
    Code,
    ConfigurationError,
    MissingExtra,
    Undecodable,
    Unreachable,
    WrongCredentials,
)
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceRequest, InferenceResult, Source, Status
from modelmora.settings import Settings
from modelmora.wire.schemas import read_schema
from tests.schema_registries import FakeRegistry

SCHEMAS = Path(__file__).parents[3] / "schemas"
REQUEST = InferenceRequest("r1", "echo", ("a text",), parameters={"n": 3})
SINGLE = wire.encode_request(REQUEST)
WRITTEN = {*Topic} - {Topic.DEAD_LETTERS, Topic.RESULTS_JSON}


def settings_of(url: str = "mock://registry", **more: Any) -> Settings:
    registry = {"url": url, "wait_s": 0.2, **more}
    return Settings.model_validate({"namespace": "ns", "schema_registry": registry})


@pytest.fixture
def client() -> Any:
    return SchemaRegistryClient.new_client({"url": "mock://registry"})


@pytest.fixture
def schemas(client: Any) -> Schemas:
    schemas = Schemas(settings_of(), client)
    schemas.register()
    return schemas


def foreign(client: Any, text: str) -> bytes:
    """A request under a schema that somebody else has registered."""
    schema_id = client.register_schema("somebody", Schema(text, "AVRO"))
    return b"\x00" + int(schema_id).to_bytes(4, "big") + SINGLE[10:]


def context(topic: Topic) -> SerializationContext:
    return SerializationContext(topic.full("ns"), MessageField.VALUE)


def test_without_a_url_there_is_nothing() -> None:
    assert Schemas.of(Settings()) is None
    assert Schemas.of(settings_of()) is not None


def test_every_topic_of_ours_has_its_subject(client: Any, schemas: Schemas) -> None:
    assert set(client.get_subjects()) == {f"{topic.full('ns')}-value" for topic in WRITTEN}
    latest = client.get_latest_version("ns.results-value")
    assert json.loads(latest.schema.schema_str) == read_schema("inference_result")
    schemas.register()
    assert client.get_versions("ns.results-value") == [1]


def test_a_request_of_confluents_own_serializer(client: Any, schemas: Schemas) -> None:
    text = (SCHEMAS / "inference_request.avsc").read_text()
    datum = {"request_id": "r1", "model": "echo", "parameters": {"n": 3}, "inputs": ["a text"]}
    value = AvroSerializer(client, text)(datum, context(Topic.NORMAL))
    assert schemas.plain(value) is None  # the file's text is not the text that we registered
    schemas.ask(value)
    assert wire.decode_request(schemas.plain(value)) == REQUEST


def test_confluents_own_deserializer_reads_a_result(client: Any, schemas: Schemas) -> None:
    result = InferenceResult("r1", Status.COMPLETED, "echo", "1", Source("t", 0, 1), outputs=("x",))
    value = schemas.framing.framed("ns.results", wire.encode_result(result))
    read = AvroDeserializer(client)(value, context(Topic.RESULTS))
    assert (read["request_id"], read["status"], read["outputs"]) == ("r1", "COMPLETED", ["x"])


def test_dead_letters_are_never_written_anew(schemas: Schemas) -> None:
    assert schemas.framing.framed("ns.dead-letters", SINGLE) is SINGLE


def test_a_schema_that_is_not_ours(client: Any, schemas: Schemas) -> None:
    value = foreign(client, '{"type":"record","name":"Other","fields":[]}')
    schemas.ask(value)
    with pytest.raises(Undecodable, match="no released schema") as caught:
        schemas.plain(value)
    assert caught.value.code is Code.UNKNOWN_SCHEMA


def test_an_id_that_does_not_exist(client: Any, schemas: Schemas) -> None:
    value = b"\x00\x00\x00\x10\x00" + SINGLE[10:]
    schemas.ask(value)
    with pytest.raises(Undecodable, match="4096 is not in the schema registry") as caught:
        schemas.plain(value)
    assert caught.value.code is Code.UNKNOWN_SCHEMA


def test_an_id_that_comes_to_be(
    client: Any, schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.kafka.schema_registry.ABSENT_S", 0.0)
    number = 1 + max(client.register_schema(f"s{n}", Schema('"long"', "AVRO")) for n in range(3))
    value = b"\x00" + number.to_bytes(4, "big") + SINGLE[10:]
    schemas.ask(value)
    assert schemas.plain(value) is None
    assert foreign(client, (SCHEMAS / "inference_request.avsc").read_text()) == value
    schemas.ask(value)
    assert schemas.plain(value) == SINGLE


def test_ids_that_are_not_ours_are_forgotten_in_the_end(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.kafka.schema_registry.REMEMBERED", 3)
    values = [b"\x00\x00\x01\x00" + bytes([n]) for n in range(5)]
    for value in values:
        schemas.ask(value)
    assert [schemas.plain(value) for value in values[:2]] == [None, None]
    for value in values[2:]:
        with pytest.raises(Undecodable):
            schemas.plain(value)


class Flaky:
    """A client that fails so many times first."""

    def __init__(self, client: Any, failures: int) -> None:
        self._client = client
        self.failures = failures
        self.asked = 0

    def get_schema(self, schema_id: int) -> Any:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionError("nobody is there")
        return self._client.get_schema(schema_id)


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmora.kafka.schema_registry.RETRY_S", 0.0)


@pytest.mark.usefixtures("_at_once")
async def test_a_registry_that_answers_later(client: Any) -> None:
    flaky = Flaky(client, 3)
    schemas = Schemas(settings_of(wait_s=30), flaky)
    value = foreign(client, (SCHEMAS / "inference_request.avsc").read_text())
    assert await schemas.learn(value) is None
    assert schemas.plain(value) == SINGLE
    assert flaky.asked == 4


async def test_a_registry_that_does_not_answer(client: Any) -> None:
    schemas = Schemas(settings_of(), Flaky(client, 10**9))
    value = foreign(client, (SCHEMAS / "inference_request.avsc").read_text())
    error = await schemas.learn(value)
    assert error is not None
    assert error.code is Code.UNKNOWN_SCHEMA
    assert "did not tell schema id 1 within 0.2 s" in error.message
    assert schemas.plain(value) is None  # and it is asked for again the next time


async def test_readers_that_must_go_on_ask_once(client: Any) -> None:
    flaky = Flaky(client, 1)
    schemas = Schemas(settings_of(), flaky)
    value = foreign(client, (SCHEMAS / "inference_request.avsc").read_text())
    assert await schemas.readable(None) is None
    assert await schemas.readable(SINGLE) is SINGLE
    assert await schemas.readable(value) is value
    assert await schemas.readable(value) is value
    assert flaky.asked == 1


async def test_readers_get_what_the_registry_says(client: Any, schemas: Schemas) -> None:
    ours = foreign(client, (SCHEMAS / "inference_request.avsc").read_text())
    assert await schemas.readable(ours) == SINGLE
    others = foreign(client, '"string"')
    assert await schemas.readable(others) is others
    assert await schemas.readable(others) is others


def test_a_registry_that_is_only_read(client: Any, schemas: Schemas) -> None:
    reader = Schemas(settings_of(register_schemas=False), client)
    reader.register()
    value = schemas.framing.framed("ns.requests.low", SINGLE)
    assert reader.framing.framed("ns.requests.low", SINGLE) == value


def test_who_only_reads_the_format(client: Any, schemas: Schemas) -> None:
    reader = Schemas(settings_of(write=False), client)
    reader.register()
    assert reader.framing.framed("ns.requests.low", SINGLE) is SINGLE
    value = schemas.framing.framed("ns.requests.low", SINGLE)
    assert value is not None
    assert reader.plain(value) == SINGLE


def test_a_registry_that_lacks_our_schemas(client: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"lacks our Inf.*register_schemas$"):
        Schemas(settings_of(register_schemas=False), client).register()
    assert client.get_subjects() == []


class Refusing:
    """A client whose registry answers with this status, or not at all."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_schema(self, _: int) -> Any:
        raise self._error

    def register_schema(self, *_: Any) -> int:
        raise self._error


class Refused(Exception):
    """As the client's own error."""

    def __init__(self, status: int, code: int = -1) -> None:
        super().__init__(f"status {status}")
        self.http_status_code = status
        self.error_code = code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused(401), WrongCredentials),
        (Refused(403), WrongCredentials),
        (Refused(409), ConfigurationError),
        (Refused(422), ConfigurationError),
        (Refused(404), Unreachable),  # a server that is no registry
        (Refused(503), Unreachable),
        (OSError("refused"), Unreachable),
        (KeyError("schema"), Unreachable),
    ],
)
def test_why_the_start_fails(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected, match="schema registry") as caught:
        Schemas(settings_of(), Refusing(error)).register()
    assert type(caught.value) is expected


@pytest.mark.parametrize("error", [Refused(404), Refused(500, 50001), Refused(401), OSError()])
def test_another_servers_answer_is_no_answer(error: Exception) -> None:
    schemas = Schemas(settings_of(), Refusing(error))
    value = b"\x00\x00\x00\x00\x07" + SINGLE[10:]
    with pytest.raises(Unreachable):
        schemas.ask(value)
    assert schemas.plain(value) is None


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(MissingExtra, match=r"modelmora\[registry\]"):
        Schemas(settings_of())


def test_a_name_a_password_and_a_certificate(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass:word\n")
    named = settings_of("http://h:1", username="node", password_file=str(secret))
    assert Schemas(named)._client.config()["basic.auth.user.info"] == "node:pass:word"
    with pytest.raises(ConfigurationError, match="password_file"):
        Schemas(settings_of(username="node", password_file=str(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="schema_registry cannot be used"):
        Schemas(settings_of("https://h:1", ssl_cafile=str(tmp_path / "none")))


def test_over_http() -> None:
    with FakeRegistry() as registry:
        schemas = Schemas(settings_of(registry.url))
        schemas.register()
        assert registry.subjects == {f"{topic.full('ns')}-value" for topic in WRITTEN}
        text = (SCHEMAS / "inference_request.avsc").read_text()
        value = b"\x00" + registry.add("s", text).to_bytes(4, "big") + SINGLE[10:]
        schemas.ask(value)
        assert schemas.plain(value) == SINGLE
        nobodys = b"\x00\x00\x00\x03\xe7" + SINGLE[10:]
        schemas.ask(nobodys)
        with pytest.raises(Undecodable, match="999 is not in"):
            schemas.plain(nobodys)
        registry.down = True
        with pytest.raises(Unreachable):
            schemas.ask(b"\x00\x00\x00\x03\xe8")
        assert schemas.plain(value) == SINGLE
        schemas.close()


def test_nobody_answers_at_the_start() -> None:
    with FakeRegistry() as registry:
        schemas = Schemas(settings_of(registry.url))
    with pytest.raises(Unreachable, match="is it running"):
        schemas.register()
    schemas.close()
