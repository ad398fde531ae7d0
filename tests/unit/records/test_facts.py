"""What is known of a model, from three places, and who is found by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.facts import MOST_CHARS, facts_of, matches, merged, text_of
from modelmora.registry.sources.cards import card_in
from modelmora.settings import ModelDetails

DETAILS = '{"card":{"language":["en","de"],"dimension":1},"metadata":{"dimension":2,"by":"me"}}'
RECORD = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w", details=DETAILS)


def test_files_go_before_the_card_and_that_before_people() -> None:
    told = replace(RECORD, file_facts=text_of({"dimension": 384, "texts": True, "nothing": None}))
    assert facts_of(told) == {"dimension": 384, "texts": True, "language": ("en", "de"), "by": "me"}
    assert facts_of(RECORD)["dimension"] == 1
    assert merged({"dimension": None}, ModelDetails(metadata={"dimension": 3})) == {"dimension": 3}


@pytest.mark.parametrize("text", ["[", "[1]", "null", "[" * 100_000])
def test_facts_that_cannot_be_read_count_as_not_told(text: str) -> None:
    assert "by" in facts_of(replace(RECORD, file_facts=text))


def test_what_files_tell_at_length_stays_out_of_the_record() -> None:
    assert text_of({"labels": ["a"] * 1000, "dimension": 4}) == '{"dimension":4}'
    assert text_of({"vocabulary": {"a": 1}, "prompts": ("query", "document")}) == (
        '{"prompts":["query","document"]}'
    )
    assert text_of({"words": "x" * MOST_CHARS}) == text_of({}) == ""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"dimension": "384"}, True),
        ({"dimension": "38"}, False),
        ({"language": "DE"}, True),
        ({"language": "fr"}, False),
        ({"texts": "true", "by": "ME"}, True),
        ({"texts": "1"}, False),
        ({"none": "None"}, False),
    ],
)
def test_models_are_found_by_their_facts(wanted: dict[str, str], found: bool) -> None:
    known = {"dimension": 384, "texts": True, "language": ("en", "de"), "by": "me", "none": None}
    assert matches(known, wanted) is found


@pytest.mark.parametrize(
    ("readme", "card"),
    [
        ("---\nlanguage: en\nlicense: mit\n---\n# A model", {"language": "en"}),
        ("---\nlanguage: [en, de]\ntags: [1]\n---\n", {"language": ("en", "de")}),
        ('---\nlanguage: "a\\eb"\n---\n', {"language": "a\\x1bb"}),
        ("---\n!!python/object:os.system x\n---\n", {}),
        ("---\n- a\n---\n", {}),
        ("# no head", {}),
    ],
)
def test_the_head_of_a_readme_is_a_card(readme: str, card: dict[str, object]) -> None:
    assert card_in(readme) == card
