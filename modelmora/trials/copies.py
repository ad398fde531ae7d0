"""Copies of past requests for a version: made and signed, for the topic `shadow`."""

from __future__ import annotations

from dataclasses import replace

from modelmora.access.signing import Signer
from modelmora.kafka.requests import request_record
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.outbox import Record
from modelmora.messages import Lane
from modelmora.messages.headers import COMPARISON, LOCAL, PRINCIPAL, SHADOW_OF
from modelmora.settings import Settings
from modelmora.trials.past import Past
from modelmora.trials.versions import Version
from modelmora.wire import decode_request
from modelmora.wire.ids import shadow_id


def copy_of(
    past: Past, version: Version, comparison: str, settings: Settings, signer: Signer | None
) -> Record:
    """The record that asks the version what was asked.

    Nobody waits for it, so it has neither a time limit of its own nor progress. It is signed by
    who makes it: what a version may be asked is for them to have, not for who asked before.
    Raises Undecodable, RequestError.
    """
    request = replace(
        decode_request(past.value),
        request_id=shadow_id(past.request_id, version.version),
        model=version.model,
        task=None,
        timeout_ms=None,
        progress=False,
    )
    principal = signer.principal("") if signer else LOCAL
    headers = (
        (PRINCIPAL, principal.encode()),
        (SHADOW_OF, past.request_id.encode()),
        (COMPARISON, comparison.encode()),
    )
    # Copies are read as the lowest lane is.
    record = request_record(request, Lane.LOW, settings, headers, signer=signer)
    record.topic = Topic.SHADOW.full(settings.namespace)
    return record
