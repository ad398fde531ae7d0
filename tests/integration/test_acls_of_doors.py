"""A gateway that shows dead letters and the audit needs what its account was given for that."""

from __future__ import annotations

import httpx
import pytest

from modelmora.kafka.acls import Component, grants
from tests.integration.acl_rig import Estate
from tests.integration.test_acls import _bury, _stock, estate
from tests.programs import eventually

__all__ = ["estate"]
ASKED = {
    Component.DLQ: ("GET", "/dead-letters", None),
    Component.AUDIT: ("GET", "/audit/verify", None),
    Component.DLQ_REPLAY: ("POST", "/dead-letters/replay", {"all": True, "again": True}),
    Component.DLQ_PURGE: ("POST", "/dead-letters/purge", {"all": True}),
}


@pytest.mark.faults
def test_each_door_names_what_it_lacks_and_works_once_it_is_there(estate: Estate) -> None:
    estate.allow(Component.GATEWAY)
    _stock(estate)
    _bury(estate)
    user = estate.user(Component.GATEWAY)
    with estate.gateway() as gateway, httpx.Client(base_url=gateway.http, timeout=60) as rest:
        for component, (method, path, body) in ASKED.items():
            purges = component is Component.DLQ_PURGE
            listed = rest.get("/dead-letters").json()["dead_letters"] if purges else []
            refused = rest.request(method, path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (409, "refused"), refused.text
            assert "denies us" in refused.json()["detail"]
            assert "modelmora topics acls" in refused.json()["detail"]
            if purges:  # what is denied has not begun
                assert listed
                assert rest.get("/dead-letters").json()["dead_letters"] == listed
            needed = grants(component, estate.settings(component))
            estate.guarded.grant(user, needed)

            def is_let(how: str = method, at: str = path, what: object = body) -> bool:
                return rest.request(how, at, json=what).status_code == 200

            eventually(is_let, f"that {path} is allowed")
