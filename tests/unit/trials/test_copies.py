"""A copy of a past request: what it asks, whose it is, and what it leaves behind."""

from __future__ import annotations

import pytest

from modelmora.access.signing import Signer, Verifier, key_text
from modelmora.comparing import Needs
from modelmora.errors import Undecodable
from modelmora.messages import InferenceRequest, Lane
from modelmora.messages.headers import COMPARISON, PRINCIPAL, SHADOW_OF, SIGNATURE
from modelmora.settings import Settings
from modelmora.trials.copies import copy_of
from modelmora.trials.past import Past
from modelmora.trials.versions import Version
from modelmora.wire import content_digest, decode_request, decode_request_head, encode_request
from modelmora.wire.ids import shadow_id

SECRET = b"a secret of the whole cluster, long enough"
SETTINGS = Settings(namespace="ns")
VERSION = Version("m", "2", "echo", Needs(), None)
ASKED = InferenceRequest(
    "the-id", "m", ("a text", b"bytes"), "echo", {"seed": 3}, timeout_ms=50, progress=True
)
PAST = Past("the-id", encode_request(ASKED))


def test_it_asks_the_same_of_the_version_and_nobody_waits_for_it() -> None:
    record = copy_of(PAST, VERSION, "c1", SETTINGS, None)
    assert (record.topic, record.key) == ("ns.shadow", b"m")
    request = decode_request(record.value)
    assert request == InferenceRequest(
        shadow_id("the-id", "2"), "m@2", ASKED.inputs, parameters={"seed": 3}
    )
    assert dict(record.headers) == {
        PRINCIPAL: b"local",
        SHADOW_OF: b"the-id",
        COMPARISON: b"c1",
    }


@pytest.mark.parametrize(
    ("signer", "principal"),
    [(Signer(SECRET), "local"), (Signer.of_key(key_text(SECRET, "ann")), "ann")],
)
def test_it_is_signed_by_who_compares(signer: Signer, principal: str) -> None:
    record = copy_of(PAST, VERSION, "c1", SETTINGS, signer)
    head = decode_request_head(record.value)

    def content(who: str) -> str:
        return content_digest(who, head, record.value or b"")

    assert SIGNATURE in dict(record.headers)
    whose = Verifier([SECRET]).of_request(record.headers, head, Lane.LOW, content)
    assert whose == (principal, False)
    # Without a signature it is what its writer claims to be, and no more.
    unsigned = copy_of(PAST, VERSION, "c1", SETTINGS, None)
    whose = Verifier([SECRET]).of_request(unsigned.headers, head, Lane.LOW, content)
    assert whose == ("topic:local", False)


def test_what_is_no_request_cannot_be_copied() -> None:
    with pytest.raises(Undecodable):
        copy_of(Past("x", PAST.value[:-4]), VERSION, "c1", SETTINGS, None)
