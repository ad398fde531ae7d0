"""Outcomes, models and refusals as clients of Ollama's read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.doors.openai.answers import embedded
from modelmora.gateway.hall import Hall
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.messages import InferenceResult, RegistryRecord
from modelmora.records import details_of
from modelmora.records.facts import facts_of

API = "0.12.0"
"""The version of Ollama whose API this is; some clients refuse to talk to older ones."""
CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "txt2txt": ("completion",),
    "img2txt": ("completion", "vision"),
    "txt2embed": ("embedding",),
}
_NS = 1_000_000
_STAYS = timedelta(minutes=5)
_LONG_AGO = "1970-01-01T00:00:00Z"


def refused(_scope: Scope, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """The response that tells a refusal."""
    status = answer_of(refusal.code).http
    return Response(orjson.dumps(error_of(refusal)), int(status), headers, "application/json")


def error_of(refusal: Refusal) -> dict[str, Any]:
    """Ollama's errors are words; the code is in the log of requests."""
    return {"error": refusal.message}


def head(model: str) -> dict[str, Any]:
    """What each line of an answer begins with."""
    return {"model": model, "created_at": _time(datetime.now(UTC))}


def end(result: InferenceResult) -> dict[str, Any]:
    """What the last line ends with; durations in ns."""
    told = result.settings
    return {
        "done": True,
        "done_reason": told.get("finish_reason") or "stop",
        **durations(result),
        "prompt_eval_count": told.get("prompt_tokens") or 0,
        "eval_count": told.get("completion_tokens") or 0,
        "eval_duration": round(result.timings.inference_ms * _NS),
    }


def durations(result: InferenceResult) -> dict[str, int]:
    """How long all of it took, and the loading of the model, in ns."""
    timings = result.timings
    return {
        "total_duration": round(timings.total_ms * _NS),
        "load_duration": round(timings.load_ms * _NS),
    }


def vectors(result: InferenceResult) -> list[list[float]]:
    """The vectors, one for each text. Raises Refusal."""
    return [each["embedding"] for each in embedded(result, "float")["data"]]


def listed(hall: Hall) -> list[dict[str, Any]]:
    """Every model, the active version of a name as its `latest`."""
    return [_model(hall, each) for each in hall.models()]


def running(hall: Hall) -> list[dict[str, Any]]:
    """What is in memory on any node."""
    records = {f"{each.name}@{each.version}": each for each in hall.models()}
    found = []
    for lease in hall.status().values():
        for model in lease.models():
            holds = lease.holds(model)
            if model in records and holds.pid:
                leaves = timedelta(seconds=holds.leaves_s) if holds.leaves_s else _STAYS
                found.append(
                    {
                        **_model(hall, records[model]),
                        "size": holds.memory_bytes + holds.gpu_bytes,
                        "size_vram": holds.gpu_bytes,
                        "expires_at": _time(datetime.now(UTC) + leaves),
                    }
                )
    return found


def shown(record: RegistryRecord) -> dict[str, Any]:
    """All that is told of a model."""
    facts, kind = facts_of(record), _family(record)
    told = {"context_length": "context_length", "dimension": "embedding_length"}
    info = {f"{kind}.{theirs}": facts[ours] for ours, theirs in told.items() if ours in facts}
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(record),
        "model_info": {"general.architecture": kind, **info},
        "capabilities": list(CAPABILITIES.get(record.task, ())),
        "modified_at": _LONG_AGO,
    }


def found(models: Iterable[RegistryRecord], hall: Hall, model: str) -> RegistryRecord | None:
    """The model of that name, or `name@version`."""
    name, _, version = model.partition("@")
    version = version or hall.registrar.state.active().get(name, "")
    return next((each for each in models if (each.name, each.version) == (name, version)), None)


def _model(hall: Hall, record: RegistryRecord) -> dict[str, Any]:
    active = hall.registrar.state.active().get(record.name) == record.version
    name = f"{record.name}:{'latest' if active else record.version}"
    return {
        "name": name,
        "model": name,
        "modified_at": _LONG_AGO,
        "size": sum(file.size for file in details_of(record).files),
        "digest": _digest(record),
        "details": _details(record),
    }


def _digest(record: RegistryRecord) -> str:
    """What stands for the model and its files; Ollama's own client panics where it is short."""
    sums = sorted(f"{file.path} {file.sha256}" for file in details_of(record).files)
    return sha256("\n".join([record.name, record.version, *sums]).encode()).hexdigest()


def _details(record: RegistryRecord) -> dict[str, Any]:
    family = _family(record)
    return {
        "parent_model": "",
        "format": record.engine or "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def _family(record: RegistryRecord) -> str:
    return str(facts_of(record).get("architecture") or record.task)


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
