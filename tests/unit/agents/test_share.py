"""How much copies may compute, and who may say that they are copies."""

from __future__ import annotations

import pytest

from modelmora.access.signing import Signer, Verifier
from modelmora.agents.shadows.share import Share
from modelmora.messages.headers import COMPARISON, PRINCIPAL, SHADOW_OF


def test_a_share_saves_up_a_second_at_most() -> None:
    share = Share(0.5)
    assert share.may(0.0)
    assert share.may(1000.0)
    share.spend(1000)
    assert not share.may(1000.0)
    assert share.may(1000.1)
    share.spend(1050)  # owes a second
    assert not share.may(1002.0)
    assert share.may(1002.1)


@pytest.mark.parametrize("changed", [SHADOW_OF, COMPARISON, PRINCIPAL, "id", None])
def test_only_a_node_can_say_that_it_has_made_a_copy(changed: str | None) -> None:
    signer, verifier = Signer(b"s" * 32), Verifier([b"s" * 32])
    headers: dict[str, bytes | None] = {SHADOW_OF: b"r1", COMPARISON: b"live", PRINCIPAL: b"alice"}
    signature = signer.copied([*headers.items()], "copy")
    if changed in headers:
        headers[changed] = b"x"
    request_id = "other" if changed == "id" else "copy"
    assert verifier.was_copied([*headers.items(), signature], request_id) is (changed is None)
    assert not verifier.was_copied([*headers.items()], "copy")
    assert Verifier().was_copied([*headers.items()], "copy")
