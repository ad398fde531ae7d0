"""The service of protos/modelmora/rpc/v1/management.proto: gRPC to the hall and back."""

from __future__ import annotations

from typing import Any

import grpc

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.calls import Call, decoded, unary
from modelmora.gateway.hall import MOST_WAIT_S, Hall, Wish, standing
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ControlVerb
from modelmora.rpc.v1 import management_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ManagementService"].full_name
VERBS = {
    "Load": ControlVerb.LOAD,
    "Unload": ControlVerb.UNLOAD,
    "Pin": ControlVerb.PIN,
    "Unpin": ControlVerb.UNPIN,
}


class ManagementService:
    """Orders and status."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods = {name: unary(self._ordering(verb)) for name, verb in VERBS.items()}
        methods["Status"] = unary(self._status)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _ordering(self, verb: ControlVerb) -> Any:
        async def order(message: bytes, _call: Call) -> Any:
            found = await self._hall.order(read_wish(verb, message))
            models = [
                _health(each.node, each.model, each.state or "", each.reason)
                for each in found.told()
            ]
            return pb.OrderReply(done=found.done, models=models)

        return order

    async def _status(self, _message: bytes, _call: Call) -> Any:
        rows = standing(self._hall)
        told = ({k: v for k, v in row.items() if v is not None} for row in rows)
        return pb.StatusReply(models=[pb.ModelHealth(**each) for each in told])


def read_wish(verb: ControlVerb, message: bytes) -> Wish:
    """The order in a message. Raises Refusal."""
    request = decoded(pb.OrderRequest, message)
    if not 0 <= request.wait_ms <= MOST_WAIT_S * 1000:
        bounds = f"wait_ms is between 0 and {MOST_WAIT_S * 1000}"
        raise Refusal(Code.INVALID_INPUT, bounds, field="wait_ms")
    return Wish(verb, request.model, request.wait_ms / 1000, request.everywhere)


def _health(node: str, model: str, state: str, reason: str | None) -> Any:
    name, _, version = model.partition("@")
    return pb.ModelHealth(
        node=node, name=name, version=version, state=str(state), reason=reason or ""
    )
