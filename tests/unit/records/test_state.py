"""Which record counts: the same one for all who read the same log, compacted or not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import GONE, Entry, Registry, key_of, model_key, route_key

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w")
Log = list[RegistryRecord]


def read(log: Log, state: Registry | None = None, since: int = 0) -> Registry:
    state = state or Registry()
    for offset, record in enumerate(log[since:], since):
        state.take(key_of(record), record, offset)
    return state


def compacted(log: Log) -> list[tuple[int, RegistryRecord]]:
    """The last record of each key, where it lies."""
    return sorted({key_of(record): (at, record) for at, record in enumerate(log)}.values())


def seen(state: Registry) -> dict[bytes, tuple[int, RegistryRecord]]:
    return {key: (each.offset, each.record) for key, each in state.entries.items()}


def test_a_write_over_another_than_the_current_record_changes_nothing() -> None:
    second = replace(MODEL, source="/b", based_on=0)
    late = replace(MODEL, source="/c", based_on=0)
    state = read([MODEL, second, late])
    assert state.entries[key_of(MODEL)] == Entry(1, second, buried=True)
    mended = replace(second, based_on=1)
    assert read([MODEL, second, late, mended]).entries[key_of(MODEL)] == Entry(3, mended)


def test_a_first_record_is_no_licence_to_take_anothers_place() -> None:
    state = read([MODEL, replace(MODEL, source="/mine", writer="other")])
    assert state.entries[key_of(MODEL)].record is MODEL


def test_what_says_the_same_confirms() -> None:
    again = replace(MODEL, writer="other")
    assert read([MODEL, again]).entries[key_of(MODEL)] == Entry(1, again)


def test_leases_wrong_keys_and_missing_values() -> None:
    state = read([MODEL])
    lease = RegistryRecord(RegistryKind.NODE, "n", "", "", "", "n", lease_ms=1)
    assert not state.take(key_of(lease), lease, 1)
    assert not state.take(b"MODEL:other@1", MODEL, 2)
    assert set(state.entries) == {key_of(MODEL)}
    assert not state.take(b"nothing", None, 3)
    assert state.take(key_of(MODEL), None, 4)
    assert not state.entries


def test_what_another_log_told_gives_way_to_any_record() -> None:
    state = read([MODEL, replace(MODEL, source="/b", based_on=0)])
    state.anew()
    assert state.entries[key_of(MODEL)].offset == GONE
    assert [model.source for model in state.models()] == ["/b"]
    state.take(key_of(MODEL), MODEL, 0)
    assert state.entries[key_of(MODEL)] == Entry(0, MODEL)


def test_a_route_counts_while_its_version_is_there() -> None:
    route = RegistryRecord(RegistryKind.ROUTE, "m", "1", "", "", "w")
    chosen = RegistryRecord(RegistryKind.DEFAULT, "m", "", "t", "", "w")
    state = read([route, chosen])
    assert (state.active(), state.defaults()) == ({}, {})
    assert state.active({("m", "1")}) == {"m": "1"}
    read([route, chosen, MODEL], state, 2)
    assert (state.active(), state.defaults()) == ({"m": "1"}, {"t": "m"})
    retired = replace(MODEL, present=False, based_on=2)
    read([route, chosen, MODEL, retired], state, 3)
    assert (state.active(), state.defaults(), state.models()) == ({}, {}, ())
    assert state.models(retired=True) == (retired,), "what it was stays readable"


WRITES = st.lists(
    st.tuples(
        st.integers(0, 1),  # who
        st.sampled_from(["a", "b"]),  # what it says
        st.sampled_from([model_key("m", "1"), route_key("m")]),
        st.integers(0, 3),  # how much of the log it has not read yet
    ),
    max_size=12,
)


def _write(log: Log, who: int, says: str, key: bytes, behind: int) -> None:
    """A writer that has read all but the last records writes over what counts for it."""
    known = read(log[: max(0, len(log) - behind)]).entries.get(key)
    kind = RegistryKind.MODEL if key.startswith(b"MODEL") else RegistryKind.ROUTE
    based_on = known.offset if known else None
    log.append(RegistryRecord(kind, "m", "1", "t", says, f"w{who}", based_on=based_on))


def _mend(log: Log) -> None:
    """What the first node does: write anew what is buried."""
    for entry in read(log).entries.values():
        if entry.buried:
            log.append(replace(entry.record, based_on=entry.offset))


@given(WRITES, st.integers(0, 12))
def test_all_readers_agree_whenever_they_come(
    writes: list[tuple[int, str, bytes, int]], at: int
) -> None:
    """Those who read from the start, who stopped meanwhile, and who come after compaction."""
    log: Log = []
    for number, write in enumerate(writes):
        _write(log, *write)
        if number == at:
            _mend(log)
            late = Registry()
            for offset, record in compacted(log):
                late.take(key_of(record), record, offset)
            since = len(log)
    whole = read(log)
    for cut in range(len(log)):
        assert seen(read(log, read(log[:cut]), cut)) == seen(whole)
    if at < len(writes):
        assert seen(read(log, late, since)) == seen(whole)
