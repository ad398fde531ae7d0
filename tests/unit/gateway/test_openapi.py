"""The REST door against its own description."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.generation.hypothesis.builder import (
    HypothesisTestConfig,
    HypothesisTestMode,
    create_test,
)

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from tests.openapi import CHECKS
from tests.unit.gateway.fakes import FakeHall, finished

OPERATIONS = {
    ("/health", "GET"),
    ("/health/live", "GET"),
    ("/health/ready", "GET"),
    ("/health/started", "GET"),
    ("/health/models", "GET"),
    ("/roles", "GET"),
    ("/roles", "PUT"),
    ("/grants", "PUT"),
    ("/dead-letters", "GET"),
    ("/dead-letters/{which}", "GET"),
    ("/dead-letters/replay", "POST"),
    ("/dead-letters/purge", "POST"),
    ("/audit", "GET"),
    ("/audit/verify", "GET"),
    ("/budgets", "GET"),
    ("/budgets", "PUT"),
    ("/status", "GET"),
    ("/models", "GET"),
    ("/models", "POST"),
    ("/models/{name}", "GET"),
    ("/models/{name}", "PATCH"),
    ("/models/{name}/route", "GET"),
    ("/models/{name}/route", "PUT"),
    ("/routes", "GET"),
    ("/models/{name}/canary", "GET"),
    ("/models/{name}/canary", "POST"),
    ("/models/{name}/canary", "DELETE"),
    ("/canaries", "GET"),
    ("/models/{name}/versions/{version}", "GET"),
    ("/models/{name}/versions/{version}", "PATCH"),
    ("/models/{name}/versions/{version}", "DELETE"),
    ("/models/{model_name}/load", "POST"),
    ("/models/{model_name}/unload", "POST"),
    ("/models/{model_name}/pin", "POST"),
    ("/models/{model_name}/unpin", "POST"),
    ("/infer/{model_name}", "POST"),
    ("/objects", "POST"),
    ("/infer/{model_name}/async", "POST"),
    ("/jobs/{job_id}", "GET"),
    ("/jobs/{job_id}", "DELETE"),
    ("/jobs/{job_id}/result", "GET"),
    ("/jobs/{job_id}/events", "GET"),
    ("/modelmora/v1/requests", "POST"),
    ("/modelmora/v1/requests/{requestId}", "GET"),
    ("/modelmora/v1/requests/{requestId}", "DELETE"),
    ("/modelmora/v1/requests/{requestId}/image", "GET"),
    ("/modelmora/v1/models", "GET"),
    ("/modelmora/v1/availability", "GET"),
    ("/v1/models", "GET"),
    ("/v1/models/{model_name}", "GET"),
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/images/generations", "POST"),
    ("/v1/moderations", "POST"),
    ("/v1/rerank", "POST"),
    ("/v1/files", "POST"),
    ("/v1/files", "GET"),
    ("/v1/files/{file_id}", "GET"),
    ("/v1/files/{file_id}", "DELETE"),
    ("/v1/files/{file_id}/content", "GET"),
    ("/v1/batches", "POST"),
    ("/v1/batches", "GET"),
    ("/v1/batches/{batch_id}", "GET"),
    ("/v1/batches/{batch_id}/cancel", "POST"),
    ("/api/version", "GET"),
    ("/api/tags", "GET"),
    ("/api/ps", "GET"),
    ("/api/show", "POST"),
    ("/api/generate", "POST"),
    ("/api/chat", "POST"),
    ("/api/embed", "POST"),
    ("/api/embeddings", "POST"),
    ("/v2", "GET"),
    ("/v2/health/live", "GET"),
    ("/v2/health/ready", "GET"),
    ("/v2/models/{model_name}", "GET"),
    ("/v2/models/{model_name}/ready", "GET"),
    ("/v2/models/{model_name}/infer", "POST"),
    ("/v2/models/{model_name}/versions/{version}", "GET"),
    ("/v2/models/{model_name}/versions/{version}/ready", "GET"),
    ("/v2/models/{model_name}/versions/{version}/infer", "POST"),
    ("/v2/repository/index", "POST"),
    ("/v2/repository/models/{model_name}/load", "POST"),
    ("/v2/repository/models/{model_name}/unload", "POST"),
}


@pytest.fixture(scope="module")
def described() -> Any:
    """Schemathesis' view of the door."""
    hall = FakeHall(limit=1 << 30)
    hall.jobs["local", "echo"] = finished("echo", b"PNG")
    for name, task in (("writes", "txt2txt"), ("draws", "txt2img")):
        hall.registry.register(name, task)
        hall.answers[f"{name}@1"] = ("text",)
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(hall, Metrics(), 1_000_000))


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "times", [1, pytest.param(20, marks=pytest.mark.faults)], ids=["few", "many"]
)
@pytest.mark.parametrize(("path", "method"), sorted(OPERATIONS))
def test_answers_are_as_described(described: Any, path: str, method: str, times: int) -> None:
    """Schemathesis' own parametrization makes the cases at import, in every worker."""

    def call(case: schemathesis.Case[Any]) -> None:
        if case.path_parameters:
            case.path_parameters = dict.fromkeys(case.path_parameters, "echo")
        case.call_and_validate(checks=CHECKS)

    few = path.startswith(("/v1", "/v2", "/modelmora"))
    config = HypothesisTestConfig(
        modes=list(HypothesisTestMode),
        project=described.config,
        explicit_settings=settings(max_examples=times * (2 if few else 5), database=None),
    )
    create_test(operation=described[path][method], test_func=call, config=config)()


def test_the_public_operations_are_described() -> None:
    paths = create_app(FakeHall(), Metrics(), 1).openapi()["paths"]
    told = {(path, method.upper()) for path, each in paths.items() for method in each}
    assert told == OPERATIONS
