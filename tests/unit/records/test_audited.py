"""What the audit says of a record of the registry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.audited import model_of, reason_of, verb_of
from modelmora.records.routes import route_record
from modelmora.routing import alone

MODEL = RegistryRecord(
    RegistryKind.MODEL, "m", "1", "echo", "https://user:secret@host/m", "gw", details='{"a":"b"}'
)
ROLE = RegistryRecord(RegistryKind.ROLE, "readers", "", "", "", "gw", details='{"allow":[]}')
ROUTE = route_record("m", alone("2"), "gw")


@pytest.mark.parametrize(
    ("record", "model", "reason"),
    [
        (MODEL, "m@1", "task echo"),
        (replace(MODEL, task=""), "m@1", None),
        (ROLE, "readers", 'role: {"allow":[]}'),
        (replace(ROLE, present=False), "readers", "role: taken back"),
        (ROUTE, "m@2", '{"weights":{"2":1}}'),
        (replace(ROUTE, routes={"0": "old", "5": "new"}), "m@2", "new"),
        (replace(ROUTE, routes={}), "m@2", None),
    ],
)
def test_what_is_told(record: RegistryRecord, model: str, reason: str | None) -> None:
    assert (model_of(record), reason_of(record)) == (model, reason)


def test_verbs_of_a_nodes_own_definitions() -> None:
    gone = replace(MODEL, present=False)
    assert verb_of(MODEL, was_there=False) == "install"
    assert verb_of(MODEL, was_there=True) == "update"
    assert verb_of(gone, was_there=True) == "uninstall"
    assert verb_of(ROUTE, was_there=True) == "route"
