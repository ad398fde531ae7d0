"""The table of metrics: its rules, the page made of it, and who asks for what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from modelmora.errors import Code
from modelmora.gateway.metrics import Metrics
from modelmora.kafka.topics import LANE_TOPICS
from modelmora.messages import EventKind, State, Status
from modelmora.node.metrics import TOKENS
from modelmora.node.wellness import Seen, signs_of
from modelmora.telemetry.metrics import ALL, TABLE, Kind, Part, Told
from modelmora.telemetry.reference import FILE, page

BESIDE = Path(__file__).parents[3] / "k8s/observability"
ALERTS = BESIDE / "alerts.yaml"
OF_PROMETHEUS = {"instance", "le"}
OF_COUNTS = ("_rows", "token_usage")
VALUES = {
    "code": {*map(str, Code)},
    "status": {each.value for each in Status},
    "type": {each.value for each in EventKind},
    "token_type": {kind for kind, _ in TOKENS},
    "state": {each.value for each in State},
    "of": {"unread"},
    "topic": {each.value for each in LANE_TOPICS.values()},
    "check": {each.check for each in signs_of(Seen(), 1, 1)} | {"batches", "probes"},
    "result": {"answered"},
    "model": {"$model"},
    "device": {"cpu"},
}


def alerts() -> Iterator[dict[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query beside where it stands."""
    for each in alerts():
        yield each.get("alert") or each["record"], each["expr"]
    for path in sorted(BESIDE.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def told(name: str) -> Told:
    """The metric of which this is a series."""
    if name in TABLE:
        return TABLE[name]
    found = TABLE[re.sub("_(bucket|sum|count)$", "", name)]
    assert found.kind is Kind.HISTOGRAM
    return found


@pytest.mark.parametrize("one", ALL, ids=lambda each: each.name)
def test_names_follow_the_rules(one: Told) -> None:
    assert re.fullmatch(r"modelmora_[a-z_]+", one.name)
    assert one.name.endswith("_total") == (one.kind is Kind.COUNTER)
    assert one.means.endswith(".")
    assert not {*one.labels} & OF_PROMETHEUS
    assert (one.kind is Kind.HISTOGRAM) == bool(one.buckets)
    assert one.kind is not Kind.HISTOGRAM or one.name.endswith(("_seconds", *OF_COUNTS))


def test_the_page_is_made_of_the_table() -> None:
    assert FILE.read_text() == page(), "run python -m modelmora.telemetry.reference"


def test_a_gateway_has_those_of_the_table() -> None:
    text = generate_latest(Metrics().registry).decode()
    found = {each.name for each in text_string_to_metric_families(text)}
    asked = {each.name.removesuffix("_total") for each in ALL if each.part is Part.GATEWAY}
    assert {name for name in found if not name.endswith("_created")} == asked


@pytest.mark.parametrize(("where", "query"), [*queries()], ids=lambda each: each[:50])
def test_what_is_asked_is_told(where: str, query: str) -> None:
    """Each name and label of a query is in the table, and each value that code can say."""
    query = re.sub(r"modelmora:[a-z0-9_:]+", "1", query)
    for name, matchers in re.findall(r"(modelmora_\w+)(?:\{([^}]*)\})?", query):
        labels = re.findall(r'(\w+)(?:=~?|!~|!=)"([^"]*)"', matchers)
        assert {label for label, _ in labels} <= {*told(name).labels}, where
        for label, values in labels:
            assert {*values.split("|")} <= VALUES[label], where
    known = {label for name in re.findall(r"modelmora_\w+", query) for label in told(name).labels}
    for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", query):
        assert {each.strip() for each in grouped.split(",")} <= known | OF_PROMETHEUS, where
    assert query.count("(") == query.count(")")


def test_records_of_rules_are_there() -> None:
    made = {each["record"] for each in alerts() if "record" in each}
    asked = {name for _, query in queries() for name in re.findall(r"modelmora:[a-z0-9_:]+", query)}
    assert asked == made


def test_panels_have_ids_and_places_of_their_own() -> None:
    for path in BESIDE.glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        assert len({each["id"] for each in panels}) == len(panels)
        places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}
        assert len(places) == len(panels)
