"""The service of protos/modelmora/rpc/v1/registry.proto: gRPC to the registrar and back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.calls import Call, decoded, unary
from modelmora.gateway.hall import Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.verbs import FACT, Filter, base_of, entry_of, page_of, registering, route_of
from modelmora.records import Entry
from modelmora.records.verbs import checked, checked_as, present
from modelmora.rpc.v1 import registry_pb2 as pb
from modelmora.settings import ModelDetails
from modelmora.settings.routes import Route

SERVICE = pb.DESCRIPTOR.services_by_name["RegistryService"].full_name
T = TypeVar("T")


class RegistryService:
    """The registry's verbs."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods = {
            "List": (pb.ListModelsRequest, self._list),
            "Get": (pb.GetModelRequest, self._get),
            "Register": (pb.RegisterModelRequest, self._register),
            "Update": (pb.UpdateModelRequest, self._update),
            "Retire": (pb.RetireModelRequest, self._retire),
            "Activate": (pb.ActivateModelRequest, self._activate),
            "GetRoute": (pb.GetRouteRequest, self._get_route),
            "SetRoute": (pb.SetRouteRequest, self._set_route),
        }
        handlers = {name: _handler(*method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _list(self, request: Any) -> Any:
        query = {
            "name": request.name,
            "version": request.version,
            "task": request.task,
            "state": request.state,
            "licence": request.licence,
            "limit": str(request.page_size or ""),
            "cursor": request.page_token,
        }
        query |= {f"{FACT}{name}": value for name, value in request.facts.items()}
        page = page_of(self._hall, Filter.of((k, v) for k, v in query.items() if v))
        models = [_model(each) for each in page["models"]]
        return pb.ListModelsResponse(models=models, next_page_token=page["next"] or "")

    async def _get(self, request: Any) -> Any:
        state = self._hall.registrar.state
        version = request.version or state.active().get(request.name, "")
        known = state.model(request.name, version)  # a retired one is readable too
        if known is None:
            known = await _now(lambda: present(state, request.name, version))
        return self._entry(known)

    async def _register(self, request: Any) -> Any:
        told = {
            "name": request.name,
            "task": request.task,
            "source": request.source,
            "active": request.active,
            **_object("details", request.details or "{}"),
        }
        told |= {"version": request.version} if request.version else {}
        told |= {"engine": request.engine} if request.engine else {}
        config = await _now(lambda: checked(told))
        entry, _ = await registering(self._hall.registrar.register(config))
        return self._entry(entry)

    async def _update(self, request: Any) -> Any:
        fields, base = _object("fields", request.fields), base_of(request.etag or "*")
        work = self._hall.registrar.update(request.name, request.version, fields, base)
        return self._entry(await registering(work))

    async def _retire(self, request: Any) -> Any:
        base = base_of(request.etag or "*")
        work = self._hall.registrar.retire(request.name, request.version, base)
        return self._entry(await registering(work))

    async def _activate(self, request: Any) -> Any:
        registrar, key = self._hall.registrar, (request.name, request.version)
        await registering(registrar.activate(*key))
        if request.default:
            await registering(registrar.make_default(request.name))
        return self._entry(present(registrar.state, *key))

    async def _get_route(self, request: Any) -> Any:
        return _route(route_of(self._hall, request.name))

    async def _set_route(self, request: Any) -> Any:
        asked, base = request.route, base_of(request.etag or "*")
        told: dict[str, Any] = {"weights": dict(asked.weights)}
        told |= {"sticky": asked.sticky} if asked.sticky else {}
        told["rules"] = [_rule(each) for each in asked.rules]
        told["shadow"] = dict(asked.shadow)
        route = await _now(lambda: checked_as(Route, told))
        await registering(self._hall.registrar.set_route(asked.name, route, base))
        return _route(route_of(self._hall, asked.name))

    def _entry(self, entry: Entry) -> Any:
        return _model(entry_of(self._hall, entry))


def _handler(kind: Any, method: Callable[[Any], Awaitable[Any]]) -> Any:
    async def answer(message: bytes, _call: Call) -> Any:
        return await method(decoded(kind, message))

    return unary(answer)


async def _now(look: Callable[[], T]) -> T:
    """What needs no waiting, with the registrar's refusals."""

    async def work() -> T:
        return look()

    return await registering(work())


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(Code.INVALID_INPUT, f"{field}: is a JSON object", field=field)
    return found


def _model(told: dict[str, Any]) -> Any:
    details = {name: told[name] for name in ModelDetails.model_fields if name in told}
    return pb.Model(
        name=told["name"],
        version=told["version"],
        task=told["task"],
        source=told["source"],
        engine=told.get("engine") or "",
        details=json.dumps(details, ensure_ascii=False) if details else "",
        active=told["active"],
        declared=told["declared"],
        state=told["state"] or "",
        reason=told["reason"] or "",
        max_inputs=told["max_inputs"],
        etag=told.get("etag", ""),
        facts=json.dumps(told["facts"], ensure_ascii=False) if told.get("facts") else "",
        measured=[pb.Measured(**each) for each in told.get("measured", ())],
    )


def _rule(rule: Any) -> dict[str, Any]:
    told = {"version": rule.version}
    told |= {"header": rule.header} if rule.header else {}
    told |= {"value": rule.value} if rule.HasField("value") else {}
    return told | ({"lane": rule.lane} if rule.lane else {})


def _route(told: dict[str, Any]) -> Any:
    rules = [{k: v for k, v in rule.items() if v is not None} for rule in told["rules"]]
    return pb.Route(
        name=told.get("name", ""),
        weights=told["weights"],
        sticky=told["sticky"],
        rules=[pb.RouteRule(**rule) for rule in rules],
        shadow=told["shadow"],
        since_ms=told["since_ms"],
        before=[_route(each) for each in told.get("before", ())],
        etag=told.get("etag", ""),
    )
