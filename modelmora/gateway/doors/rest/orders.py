"""`POST /models/{name}/load` and the like, and `GET /status`: REST to the hall and back."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from modelmora.gateway.doors.rest import described
from modelmora.gateway.doors.rest.bodies import read_wish
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.hall import Hall, standing
from modelmora.gateway.metrics import Metrics
from modelmora.kafka.orders import Order
from modelmora.messages import ControlVerb, State

BODY_BYTES = 1 << 16
_WORDS = {
    ControlVerb.LOAD: "Load a model before it is asked for",
    ControlVerb.UNLOAD: "Give a model's memory back, or cancel its load",
    ControlVerb.PIN: "Keep a model in memory",
    ControlVerb.UNPIN: "Let a model leave memory again when room is needed",
}


class NodeModel(BaseModel):
    """How a model is on a node."""

    node: str
    name: str
    version: str
    state: State | None
    reason: str | None = Field(description="Why it cannot be served")


class HeldModel(NodeModel):
    """How a model is on a node, and what it holds there, as that has told last."""

    task: str | None
    device: str | None = Field(description="Where its replicas are")
    pid: int | None = Field(description="Its first process")
    memory_bytes: int = Field(description="RAM that its replicas hold")
    gpu_bytes: int = Field(description="Memory of GPUs that they hold")
    waiting: int = Field(description="Requests that wait for it there")
    running: int = Field(description="Requests that its replicas have begun")
    idle_s: float | None = Field(description="How long it has had nothing to do; null: it has")
    leaves_s: float | None = Field(description="In how long it leaves memory; null: it stays")
    pinned: bool = Field(description="Never unloaded to make room for another")


class OrderAnswer(BaseModel):
    """What became of an order by now."""

    done: bool = Field(description="Whether nothing more is to come of it")
    models: list[NodeModel] = Field(description="What each node has answered")
    look: str = Field(description="Where to look later")


class Status(BaseModel):
    """The nodes that run, and where each model stands there."""

    faults: list[str]
    models: list[HeldModel]


def add_orders(app: FastAPI, hall: Hall, metrics: Metrics) -> None:
    """Serve the orders and the status."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)
    for verb in _WORDS:
        _add_order(app, bodies, verb)

    @app.get(
        "/status",
        summary="Tell where each model stands on each node, and what it holds",
        description="As the nodes have told last: states at once, the rest with its lease.",
        response_description="The models by node.",
        response_model=Status,
        tags=["health"],
    )
    async def status() -> dict[str, Any]:
        return {"faults": hall.faults(), "models": standing(hall)}


def _add_order(app: FastAPI, bodies: Bodies, verb: ControlVerb) -> None:
    @app.post(
        f"/models/{{model_name}}/{verb.lower()}",
        name=verb.lower(),
        summary=_WORDS[verb],
        description="The command goes onto the topic `control`; the nodes answer with events.",
        response_description="It is done.",
        response_model=OrderAnswer,
        responses=described.order_responses(OrderAnswer),
        openapi_extra=described.takes("OrderBody", {"wait_s": 30}),
        tags=["models"],
    )
    async def order(request: Request) -> Response:
        async with bodies.of(request) as body:
            wish = read_wish(verb, request.path_params["model_name"], body)
        found = await unless_gone(bodies.hall.order(wish), request.receive)
        return JSONResponse(_told(found), 200 if found.done else 202)


def _told(order: Order) -> dict[str, Any]:
    rows = [_row(each.node, each.model, each.state, each.reason) for each in order.told()]
    return {"done": order.done, "models": rows, "look": "/status"}


def _row(node: str, model: str, state: State | None, reason: str | None) -> dict[str, Any]:
    name, _, version = model.partition("@")
    shown = state and state.value
    return {"node": node, "name": name, "version": version, "state": shown, "reason": reason}
