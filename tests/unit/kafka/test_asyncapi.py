"""The AsyncAPI document: valid by the official schema, whole, and with examples that are Avro."""

from __future__ import annotations

import io
import json
from typing import Any

import avro.io
import avro.schema
import fastavro
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from modelmora.cli import main
from modelmora.kafka.asyncapi import AVRO, HEADERS, document
from modelmora.kafka.topics import TABLE
from modelmora.messages import headers as names
from modelmora.messages.headers import GATEWAY, HANDED_ON, REPLAY_OF, REPLAYED_TO
from modelmora.wire.plainjson import JsonRequest
from tests.programs import ROOT

MADE = document("ns", "1")
MESSAGES = MADE["components"]["messages"]


def test_it_is_valid_by_the_official_schema() -> None:
    schema = json.loads((ROOT / "tests" / "asyncapi-3.0.0.json").read_text())
    jsonschema.Draft7Validator(schema).validate(MADE)


def references(told: Any) -> set[str]:
    if isinstance(told, list):
        return set().union(*map(references, told))
    if isinstance(told, dict):
        own = {told["$ref"]} if "$ref" in told else set()
        return own.union(*map(references, told.values()))
    return set()


def test_what_it_refers_to_is_there() -> None:
    found = references(MADE)
    assert len(found) > 2 * len(TABLE)
    for path in found:
        told: Any = MADE
        for word in path.removeprefix("#/").split("/"):
            told = told[word]


def test_every_topic_is_a_channel_that_somebody_writes() -> None:
    addresses = {each["address"] for each in MADE["channels"].values()}
    assert addresses == {topic.full("ns") for topic in TABLE} | {None}
    used = {each["channel"]["$ref"].split("/")[-1] for each in MADE["operations"].values()}
    assert used == {topic.value for topic in TABLE}


def test_headers_are_those_of_the_reference() -> None:
    told = (ROOT / "docs/reference/topics.md").read_text()
    shown = {name for each in HEADERS.values() for name in each}
    assert {name for name in shown if f"`{name}`" not in told and "ce_" not in name} <= {
        names.CONTENT_TYPE,
        names.REQUEST_ID,
    }, "named where requests in JSON and events are described"
    assert not shown & {GATEWAY, HANDED_ON, REPLAY_OF, REPLAYED_TO}, "our own affair"


@pytest.mark.parametrize("name", [name for name in MESSAGES if MESSAGES[name].get("examples")])
def test_examples_are_what_their_schemas_say(name: str) -> None:
    message = MESSAGES[name]
    payload = message["payload"]
    for example in message["examples"]:
        assert example.get("headers", {}).keys() <= message["headers"]["properties"].keys()
        told = example["payload"]
        if payload.get("schemaFormat") == AVRO:
            assert told.items() <= read(payload["schema"], told).items()
        elif name == "InferenceRequestJson":
            JsonRequest.model_validate(told)
        else:
            assert told.keys() <= payload["properties"].keys()


def read(schema: Any, told: Any) -> Any:
    """What Apache's implementation reads of what fastavro writes."""
    written = io.BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema), told)
    reader = avro.io.DatumReader(avro.schema.parse(json.dumps(schema)))
    return reader.read(avro.io.BinaryDecoder(io.BytesIO(written.getvalue())))


def test_the_command_prints_it_for_any_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "asyncapi", "--namespace", "shop"]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert told["channels"]["results"]["address"] == "shop.results"
    assert main(["topics", "asyncapi", "--namespace", "shop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
