"""A request that ends whatever node reads it is found among others, and set aside."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.faults.recording import Figures
from tests.foreign import Draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.integration.test_takeover import spread
from tests.nodes import Observer
from tests.poisoned import POISON, FrailNode, kept_up
from tests.programs import eventually

SEED = 20
MOST_DEATHS = 5
CAP_LONG_S = 4 * CAP_S
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def frail(yard: Yard, name: str, **settings: object) -> FrailNode:
    folder = yard.folder / name
    folder.mkdir(exist_ok=True)
    return FrailNode(yard.servers, yard.namespace, folder, name, settings)


def survives(
    yard: Yard, drafts: list[Draft], figures: Figures, *nodes: FrailNode, repeats: int
) -> int:
    """Have nodes that are started whenever they die answer all; how often they died."""
    with ExitStack() as running:
        for node in nodes:
            running.enter_context(node)
        with kept_up(nodes):
            sent = yard.send(drafts)
            eventually(yard.all_committed, "every request committed", CAP_LONG_S)
        with closing(Observer(yard.servers, yard.namespace)) as seen:
            ids = [each.request_id for each in sent]
            seen.until(lambda: seen.results.keys() >= {*ids}, "every outcome")
            ended = {each: seen.results[each][0] for each in ids}
            poison = [each for each in sent if each.code]
            for each in sent:
                told = ended[each.request_id]
                if each not in poison:
                    assert told.status is Status.COMPLETED, told
                else:
                    assert told.error
                    assert "nodes ended" in told.error.message
            letters = [letter for found in seen.letters.values() for letter in found]
            assert [each.code for each in letters] == ["worker_crash"] * len(poison)
            assert {each.value for each in letters} == {each.value for each in poison}
        assert all(node.wait_ready().stop() == 0 for node in nodes if node.running)
    verdict = yard.verdict(repeats=repeats)
    assert verdict.violations == ()
    deaths = sum(node.deaths for node in nodes)
    figures.judged(verdict, deaths)
    return deaths


def among(place: int, count: int) -> list[Draft]:
    drafts = [spread(n, "echo", [POISON if n == place else f"{n}"]) for n in range(count)]
    drafts[place] = replace(drafts[place], code="worker_crash")
    return drafts


@pytest.mark.row("F5")
def test_what_ends_the_node_is_set_aside(yard: Yard, figures: Figures) -> None:
    drafts = among(Random(SEED).randrange(60), 60)
    deaths = survives(yard, drafts, figures, frail(yard, "n1"), repeats=60)
    assert 2 <= deaths <= MOST_DEATHS


@pytest.mark.row("F5")
@pytest.mark.faults
@pytest.mark.parametrize("place", [0, 1, 7, 30, 58, 59])
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_wherever_it_lies_two_nodes_find_it(
    yard: Yard, place: int, delivery: str, figures: Figures
) -> None:
    nodes = [frail(yard, name, DELIVERY=delivery) for name in ("n1", "n2")]
    repeats = 60 if delivery == "at_least_once" else 0
    assert 2 <= survives(yard, among(place, 60), figures, *nodes, repeats=repeats) <= MOST_DEATHS
