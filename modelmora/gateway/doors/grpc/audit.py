"""The service of protos/modelmora/rpc/v1/audit.proto: gRPC to the audit and back."""

from __future__ import annotations

from typing import Any

import grpc

from modelmora.audit.reading import Entry
from modelmora.gateway.cluster.reports import told_report
from modelmora.gateway.doors.grpc.calls import Call, decoded, unary
from modelmora.gateway.doors.grpc.deadletters import given, page_of
from modelmora.gateway.hall import Hall
from modelmora.gateway.queries import cursor_of, records_asked
from modelmora.rpc.v1 import audit_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["AuditService"].full_name
FILTERS = ("principal", "verb", "model", "decision")


class AuditService:
    """The audit."""

    def __init__(self, hall: Hall) -> None:
        self._administration = hall.administration

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        handlers = {"List": unary(self._list), "Verify": unary(self._verify)}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _list(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.ListAuditRecordsRequest, message)
        wanted, part = records_asked(given(asked, *FILTERS) | page_of(asked))
        page = await self._administration.audit(part.limit, wanted, part.since, part.before)
        records, token = map(_record, page.items), cursor_of(page.before)
        return pb.ListAuditRecordsResponse(records=records, next_page_token=token or "")

    async def _verify(self, message: bytes, _call: Call) -> Any:
        decoded(pb.VerifyAuditRequest, message)
        told = told_report(await self._administration.verify())
        findings = [pb.AuditFinding(**each) for each in told.pop("findings")]
        writers = [pb.AuditWriter(**each) for each in told.pop("writers")]
        return pb.VerifyAuditResponse(**told, findings=findings, writers=writers)


def _record(entry: Entry) -> Any:
    event = entry.event
    return pb.AuditRecord(
        place=entry.place,
        time_ms=event.time,
        writer=event.writer,
        sequence=event.sequence,
        principal=event.principal,
        verb=event.verb,
        model=event.model or "",
        decision=event.decision.value,
        reason=event.reason or "",
        request_id=event.request_id or "",
    )
