"""Changes of roles and grants: each makes the one record to write, or refuses."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from modelmora.access.rights import Rule
from modelmora.errors import Conflict, Invalid, NotFound
from modelmora.messages import RegistryRecord
from modelmora.records.roles import grant_record, role_record
from modelmora.records.state import GONE, Registry, says_the_same
from modelmora.records.telling import DETAILS_BYTES, key_of
from modelmora.settings.rights import BUILT_IN
from modelmora.text import did_you_mean


def tell_role(state: Registry, name: str, rules: Sequence[Rule]) -> RegistryRecord | None:
    """The record that gives a role these rules, without any takes it away; None for no change.

    Raises Invalid for a role that is always there, NotFound for one that is not and so cannot be
    taken away, Conflict for one that is granted still.
    """
    if name in BUILT_IN:
        raise Invalid(f"{name} is a role that is always there; choose another name")
    told = state.told()
    if rules:
        return over(state, role_record(name, rules))
    if name not in told.roles:
        raise NotFound(
            f"the registry tells no role {name}; see `modelmora roles list` or GET /roles"
        )
    if holders := sorted(who for who, roles in told.grants.items() if name in roles):
        raise Conflict(f"{name} is granted to {', '.join(holders[:5])}; take that back first")
    return over(state, replace(role_record(name, ()), present=False))


def grant(
    state: Registry, principal: str, roles: Iterable[str], known: Container[str]
) -> RegistryRecord | None:
    """The record that grants just these roles, without any takes all back; None for no change.

    `known` are the roles that others tell. Raises Invalid for a role that nobody tells, NotFound
    where nothing is granted that could be taken back.
    """
    told, wanted = state.told(), sorted(set(roles))
    for name in wanted:
        if not (name in told.roles or name in BUILT_IN or name in known):
            near = did_you_mean(name, [*told.roles, *BUILT_IN])
            raise Invalid(
                f"there is no role {name}{near or '; see `modelmora roles list` or GET /roles'}"
            )
    if not wanted and principal not in told.grants:
        raise NotFound(
            f"the registry grants nothing to {principal}; see `modelmora roles list` or GET /roles"
        )
    made = grant_record(principal, wanted)
    return over(state, made if wanted else replace(made, present=False))


def over(state: Registry, record: RegistryRecord) -> RegistryRecord | None:
    """The record over what counts now. Raises Invalid where it is too long."""
    size = len(record.details.encode())
    if size > DETAILS_BYTES:
        raise Invalid(f"it is {size} bytes of JSON and {DETAILS_BYTES} are allowed; make it two")
    entry = state.entries.get(key_of(record))
    if entry is None or entry.offset == GONE:
        return record
    return None if says_the_same(entry.record, record) else replace(record, based_on=entry.offset)
