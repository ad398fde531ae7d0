"""Which licences somebody must accept, and what is noted then."""

from __future__ import annotations

import pytest

from modelmora.errors import ConfigurationError
from modelmora.registry.licences import Ask, is_permissive, settled
from modelmora.settings import Licence

MIT = Licence(name="MIT", read_from="LICENSE")
LLAMA = Licence(name="llama3", read_from="its card on the hub")


@pytest.mark.parametrize(
    ("name", "permissive"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("apache-2.0", True),
        ("Apache License, Version 2.0", True),
        ("(MIT OR Apache-2.0)", True),
        ("BSD-3-Clause", True),
        ("llama3", False),
        ("GPL-3.0", False),
        ("MIT AND GPL-3.0", False),
        ("cc-by-nc-4.0", False),
        ("other", False),
        ("", False),
        ("license", False),
    ],
)
def test_which_licences_allow_any_use(name: str, permissive: bool) -> None:
    assert is_permissive(name) is permissive


def yes(_: str, licence: Licence | None) -> str:
    return licence.name if licence else "mine"


def no(*_: object) -> None:
    return None


def never(*_: object) -> str:
    raise AssertionError("nobody is to be asked")


@pytest.mark.parametrize(
    ("told", "required", "ask", "confirmed"),
    [
        (MIT, False, never, False),
        (None, False, never, False),
        (LLAMA, False, yes, True),
        (LLAMA, False, None, False),
        (MIT, True, yes, True),
        (None, True, yes, True),
    ],
)
def test_who_is_asked(told: Licence | None, required: bool, ask: Ask, confirmed: bool) -> None:
    found = settled("s", told, None, None, ask, required=required)
    assert bool(found and found.confirmed_by) is confirmed
    assert bool(found and str(found.confirmed_at).endswith("Z")) is confirmed
    if told:
        assert found
        assert (found.name, found.read_from) == (told.name, told.read_from)


@pytest.mark.parametrize(
    ("told", "required", "ask", "message"),
    [
        (LLAMA, False, no, "the licence of s was not accepted; nothing is installed"),
        (MIT, True, no, "was not accepted"),
        (MIT, True, None, "pass --accept-licence MIT"),
        (None, True, None, "it tells no licence (registry.require_licence); pass --accept-licence"),
    ],
)
def test_what_nobody_accepts_is_not_installed(
    told: Licence | None, required: bool, ask: Ask | None, message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        settled("s", told, None, None, ask, required=required)
    assert message in str(raised.value)


def test_what_was_accepted_stays_so_until_it_is_another() -> None:
    before = settled("s", LLAMA, "LLAMA3", None, never, required=True)
    assert settled("s", LLAMA, None, before, never, required=True) is before
    other = Licence(name="llama4", read_from="its card on the hub")
    with pytest.raises(ConfigurationError, match="pass --accept-licence llama4"):
        settled("s", other, None, before, None, required=True)


def test_only_the_licence_that_is_told_can_be_accepted() -> None:
    with pytest.raises(ConfigurationError, match=r"under llama3 \(its card on the hub\), not MIT"):
        settled("s", LLAMA, "MIT", None, never, required=False)
