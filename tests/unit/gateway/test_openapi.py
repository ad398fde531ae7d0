"""The REST door against its own description."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rest.routes import create_app
from tests.unit.gateway.fakes import FakeHall

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(FakeHall(limit=1 << 30), Metrics(), 1_000_000)
)


def answers_are_as_described(path: str) -> Any:
    """A test of one path: Schemathesis gives one name to the tests of all."""

    @schema.include(path=path).parametrize()
    @settings(max_examples=40)
    def test(case: schemathesis.Case[Any]) -> None:
        if case.path.startswith("/infer"):
            case.path_parameters = {"model_name": "echo"}
        case.call_and_validate(checks=CHECKS)

    return test


PATHS = {
    "/health": "health",
    "/health/live": "live",
    "/health/ready": "ready",
    "/health/models": "health_models",
    "/models": "models",
    "/status": "status",
    "/infer/{model_name}": "infer",
    "/models/{model_name}/load": "load",
    "/models/{model_name}/unload": "unload",
    "/models/{model_name}/pin": "pin",
    "/models/{model_name}/unpin": "unpin",
}
globals().update({f"test_{name}": answers_are_as_described(path) for path, name in PATHS.items()})


def test_the_public_paths_are_described() -> None:
    paths = create_app(FakeHall(), Metrics(), 1).openapi()["paths"]
    assert set(paths) == set(PATHS)
