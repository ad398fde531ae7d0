"""The models as the protocol tells of them: metadata, readiness, the repository and its orders."""

from __future__ import annotations

from typing import Any

from modelmora import __version__
from modelmora.errors import Code
from modelmora.gateway.doors.oip.ports import Port, ports_of
from modelmora.gateway.hall import Hall, Wish, state_of
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ControlVerb, RegistryRecord, State
from modelmora.text import did_you_mean, printable, shorten

SERVER: dict[str, Any] = {
    "name": "modelmora",
    "version": __version__,
    "extensions": ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"],
}
ORDER_S = 60.0
"""How long a load or an unload is waited for; clients of Triton's wait no longer."""
SHOWN = 100
_STATES = {
    State.COLD: "UNAVAILABLE",
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.LEAVING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
    State.QUARANTINED: "UNAVAILABLE",
}
_BROKEN = (State.FAILED, State.QUARANTINED)
_COLD = "not in memory; it is loaded when it is asked for"
_NOWHERE = "no node that runs serves it"


def find(hall: Hall, name: str, version: str) -> RegistryRecord:
    """The model of a name, or `name@version`; the active version where none is told.

    Raises Refusal (unknown_model).
    """
    state = hall.registrar.state
    plain, _, number = name.partition("@")
    number = version or number or state.active().get(plain, "")
    found = state.model(plain, number)
    if found is None or not found.record.present:
        shown = shorten(printable(f"{plain}@{number}" if number else plain), SHOWN)
        near = did_you_mean(plain, {each.name for each in state.models()})
        raise Refusal(Code.UNKNOWN_MODEL, f"{shown} is not served; see /v2/repository/index{near}")
    return found.record


def metadata(hall: Hall, name: str, version: str) -> dict[str, Any]:
    """What a model takes and gives. Raises Refusal."""
    record = find(hall, name, version)
    ports = ports_of(record)
    versions = [each.version for each in hall.models() if each.name == record.name]
    return {
        "name": record.name,
        "versions": versions,
        "platform": f"modelmora_{record.task}",
        "inputs": [_told(port) for port in ports.inputs],
        "outputs": [_told(port) for port in ports.outputs],
    }


def is_ready(hall: Hall, name: str, version: str) -> bool:
    """Whether a request is served now, if need be after the model is loaded. Raises Refusal."""
    state = state_of(hall, find(hall, name, version))["state"]
    return not hall.faults() and state is not None and State(state) not in _BROKEN


def index(hall: Hall, *, ready: bool) -> list[dict[str, str]]:
    """Each model and whether it is in memory; `ready`: only those that are."""
    rows = [_row(hall, each) for each in hall.models()]
    return [row for row in rows if row["state"] == "READY" or not ready]


async def order(hall: Hall, verb: ControlVerb, name: str) -> None:
    """Load or unload a model, and wait until it is done. Raises Refusal."""
    record = find(hall, name, "")
    model = f"{record.name}@{record.version}"
    done = await hall.order(Wish(verb, model, ORDER_S))
    if not done.done:
        message = f"{model}: it is not done within {ORDER_S:.0f} s; see /v2/repository/index"
        raise Refusal(Code.STARTING, message)


def _row(hall: Hall, record: RegistryRecord) -> dict[str, str]:
    told = state_of(hall, record)
    state = told["state"]
    shown = _STATES[State(state)] if state else "UNAVAILABLE"
    reason = told["reason"] or {None: _NOWHERE, State.COLD.value: _COLD}.get(state, "")
    return {"name": record.name, "version": record.version, "state": shown, "reason": reason}


def _told(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": [*port.shape]}
