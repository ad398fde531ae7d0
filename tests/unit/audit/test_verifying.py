"""What is done to an audit is found, and where; what is nobody's doing is not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from modelmora.audit.anchors import Anchor
from modelmora.audit.auditor import GAP, STOP
from modelmora.audit.signing import Signer
from modelmora.audit.verifying import Fault, Line, verify
from tests.unit.audit.rig import KEY, Written, flipped, lines

VERBS = ("start", "load", "unload", "install", "route", STOP)


def found(
    told: list[Line],
    anchors: list[Anchor] | None = None,
    kept_from: int = 0,
    trusted: tuple[str, ...] = (),
) -> list[tuple[Fault, str]]:
    report = verify(told, anchors or [], {0: kept_from}, trusted)
    assert report.records == len(told)
    return [(each.fault, each.place) for each in report.findings]


def at(offset: int) -> str:
    return f"ns.audit:0:{offset}"


def test_what_nobody_touched_holds() -> None:
    one, two = Written().tell(*VERBS), Written("gateway@a/2", Signer()).tell(*VERBS)
    mixed = [link for pair in zip(one.links, two.links, strict=True) for link in pair]
    anchors = [one.anchor(0), one.anchor(5), two.anchor(3)]
    report = verify(lines(mixed), anchors, {0: 0})
    assert report.findings == []
    assert [each.ended for each in report.writers.values()] == [True, True]
    assert (report.records, report.repeated, report.anchors) == (12, 0, 3)


def test_every_flipped_bit_is_found_where_it_is() -> None:
    told = lines(Written().tell(*VERBS).links)
    bits = len(told[2].value or b"") * 8
    for bit in range(bits):
        spoilt = [*told[:2], flipped(told[2], bit), *told[3:]]
        assert at(2) in [place for _, place in found(spoilt)], bit


@pytest.mark.parametrize("signature", [b"", b"x" * 64, b"x" * 63])
def test_a_record_without_its_signature_is_found(signature: bytes) -> None:
    told = lines(Written().tell(*VERBS).links)
    told[3] = replace(told[3], signature=signature)
    assert found(told) == [(Fault.SIGNATURE, at(3)), (Fault.MISSING, at(4))]


@pytest.mark.parametrize("value", [None, b"", b"nonsense"])
def test_what_is_no_record_is_found(value: bytes | None) -> None:
    told = lines(Written().tell(*VERBS).links)
    told[3] = replace(told[3], value=value)
    assert found(told) == [(Fault.UNREADABLE, at(3)), (Fault.MISSING, at(4))]


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_a_record_that_was_left_out_is_found(gone: int) -> None:
    links = Written().tell(*VERBS).links
    report = verify(lines([*links[:gone], *links[gone + 1 :]]), [], {0: 0})
    (finding,) = report.findings
    assert (finding.fault, finding.place) == (Fault.MISSING, at(gone))
    assert f"records {gone} to {gone} are missing" in finding.message


def test_records_in_another_order_are_found() -> None:
    links = Written().tell(*VERBS).links
    links[2], links[3] = links[3], links[2]
    assert found(lines(links)) == [(Fault.MISSING, at(2)), (Fault.ORDER, at(3))]


def test_shuffled_records_are_never_taken_for_whole() -> None:
    links = Written().tell(*VERBS).links
    for seed in range(200):
        mixed = [*links]
        random.Random(seed).shuffle(mixed)
        assert bool(found(lines(mixed))) == (mixed != links)


@pytest.mark.parametrize("left", range(len(VERBS)))
def test_an_end_that_was_cut_off_is_found_by_what_events_were_told(left: int) -> None:
    whole = Written().tell(*VERBS)
    told = lines(whole.links[:left])
    place = at(left - 1) if left else "events, on record 5"
    assert found(told, [whole.anchor(5)]) == [(Fault.TRUNCATED, place)]


def test_a_beginning_is_gone_by_its_age_or_was_cut_off() -> None:
    whole = Written().tell(*VERBS)
    told = lines(whole.links[2:], first=2)
    assert found(told) == [(Fault.TRUNCATED, at(2))]
    assert found(told, kept_from=2) == []
    assert found(told, [whole.anchor(0, 0)], kept_from=2) == []
    assert found(told, [whole.anchor(1, 2)], kept_from=2) == [(Fault.TRUNCATED, at(2))]
    assert found([], [whole.anchor(5, 5)], kept_from=6) == []
    assert found([], [whole.anchor(5, 5)], kept_from=0) == [
        (Fault.TRUNCATED, "events, on record 5")
    ]


def test_a_chain_made_anew_from_a_place_on_is_found() -> None:
    """By somebody with the key, who leaves one record out and signs all behind it again."""
    whole, again = Written().tell(*VERBS), Written().tell(*VERBS[:2], *VERBS[3:])
    assert found(lines(again.links), [whole.anchor(1)]) == []
    assert [fault for fault, _ in found(lines(again.links), [whole.anchor(4)])] == [Fault.REWRITTEN]
    joined = [*whole.links[:3], *again.links[3:]]
    assert found(lines(joined)) == [(Fault.REWRITTEN, at(3))]


def test_two_records_of_one_number_are_found_and_the_same_record_twice_is_not() -> None:
    one, other = Written().tell(*VERBS), Written().tell("start", "purge")
    twice = [*one.links[:4], *one.links[2:]]
    report = verify(lines(twice), [], {0: 0})
    assert (report.findings, report.repeated) == ([], 2)
    forked = [*one.links[:4], other.links[1], *one.links[4:]]
    assert found(lines(forked)) == [(Fault.REWRITTEN, at(4))]


def test_records_of_another_key_are_found() -> None:
    one, thief = Written().tell(*VERBS), Written(signer=Signer()).tell(*VERBS)
    joined = [*one.links[:3], *thief.links[3:]]
    assert found(lines(joined)) == [(Fault.KEY, at(3))]
    # What a stranger puts between them makes no record of the writer look wrong.
    between = [*one.links[:3], thief.links[5], *one.links[3:]]
    assert found(lines(between), [one.anchor(5)]) == [(Fault.KEY, at(3))]
    forged = [replace(thief.links[5], signature=b"x" * 64), *one.links]
    assert found(lines(forged), [one.anchor(5)]) == [(Fault.SIGNATURE, at(0))]
    # The whole chain made anew: by itself it holds, and not beside what events were told.
    assert found(lines(thief.links)) == []
    assert found(lines(thief.links), [one.anchor(2)]) == [(Fault.KEY, at(0))]
    trusted = (KEY.public_key.hex(),)
    assert found(lines(thief.links), trusted=trusted) == [(Fault.KEY, at(0))]
    assert found(lines(one.links), trusted=trusted) == []


def test_a_forged_word_on_events_is_found_and_blames_no_record() -> None:
    one = Written().tell(*VERBS)
    forged = replace(one.anchor(5).head, sequence=90)
    assert [fault for fault, _ in found(lines(one.links), [Anchor(forged, 0, 9)])] == [Fault.ANCHOR]
    stranger = Written("node@b/7", Signer()).tell("start").anchor(0)
    assert [
        fault for fault, _ in found(lines(one.links), [stranger], trusted=(KEY.public_key.hex(),))
    ] == [Fault.KEY]


def test_a_writer_without_an_end_and_what_it_lost_are_told() -> None:
    (writer,) = verify(lines(Written().tell("start", GAP).links), [], {0: 0}).writers.values()
    assert (writer.ended, writer.last) == (False, 1)
    assert writer.lost == ["because (ns.audit:0:1)"]
