"""The service of protos/modelmora/rpc/v1/rights.proto: gRPC to roles and grants and back."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from modelmora.gateway.doors.grpc.calls import Call, decoded, unary
from modelmora.gateway.doors.rest.bodies import checked
from modelmora.gateway.doors.rest.registry.roles import GrantBody, RoleBody
from modelmora.gateway.hall import Hall
from modelmora.gateway.rights.granted import Granted
from modelmora.gateway.rights.permits import Permits
from modelmora.rpc.v1 import rights_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RightsService"].full_name


class RightsService:
    """Roles and grants."""

    def __init__(self, hall: Hall, permits: Permits) -> None:
        self._granted = Granted(hall.registrar, lambda: permits.ruling.own)

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods = {"List": self._list, "SetRole": self._set_role, "SetGrant": self._set_grant}
        handlers = {name: unary(method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _list(self, message: bytes, _call: Call) -> Any:
        decoded(pb.ListRightsRequest, message)
        return _rights(self._granted.shown())

    async def _set_role(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.SetRoleRequest, message)
        told = {"name": asked.name, "rules": [_rule(each) for each in asked.rules]}
        body = checked(RoleBody, told)
        return _rights(await self._granted.set_role(body.name, body.rules))

    async def _set_grant(self, message: bytes, _call: Call) -> Any:
        asked = decoded(pb.SetGrantRequest, message)
        body = checked(GrantBody, {"principal": asked.principal, "roles": [*asked.roles]})
        return _rights(await self._granted.set_grant(body.principal, body.roles))


def _rule(asked: Any) -> dict[str, Any]:
    """As REST reads it, where what is left out is all."""
    told: dict[str, Any] = {"verbs": [*asked.verbs]}
    told |= {"models": [*asked.models]} if asked.models else {}
    told |= {"lanes": [*asked.lanes]} if asked.lanes else {}
    return told | ({"effect": asked.effect} if asked.effect else {})


def _rights(told: dict[str, Any]) -> Any:
    return ParseDict(told, pb.Rights())
