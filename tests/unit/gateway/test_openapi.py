"""The REST door against its own description."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import settings

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from tests.openapi import CHECKS
from tests.unit.gateway.fakes import FakeHall, finished

hall = FakeHall(limit=1 << 30)
hall.jobs["local", "echo"] = finished("echo", b"PNG")
for name, task in (("writes", "txt2txt"), ("draws", "txt2img")):
    hall.registry.register(name, task)
    hall.answers[f"{name}@1"] = ("text",)
schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(hall, Metrics(), 1_000_000))


def answers_are_as_described(path: str, method: str) -> Any:
    """A test of one operation: Schemathesis gives one name to the tests of all."""

    @schema.include(path=path, method=method).parametrize()
    @settings(max_examples=5 if path.startswith(("/v1", "/v2", "/modelmora")) else 15)
    def test(case: schemathesis.Case[Any]) -> None:
        if case.path_parameters:
            case.path_parameters = dict.fromkeys(case.path_parameters, "echo")
        case.call_and_validate(checks=CHECKS)

    return test


OPERATIONS = {
    ("/health", "GET"): "health",
    ("/health/live", "GET"): "live",
    ("/health/ready", "GET"): "ready",
    ("/health/models", "GET"): "health_models",
    ("/status", "GET"): "status",
    ("/models", "GET"): "models",
    ("/models", "POST"): "register",
    ("/models/{name}", "GET"): "model",
    ("/models/{name}", "PATCH"): "choose",
    ("/models/{name}/versions/{version}", "GET"): "version",
    ("/models/{name}/versions/{version}", "PATCH"): "update",
    ("/models/{name}/versions/{version}", "DELETE"): "retire",
    ("/models/{model_name}/load", "POST"): "load",
    ("/models/{model_name}/unload", "POST"): "unload",
    ("/models/{model_name}/pin", "POST"): "pin",
    ("/models/{model_name}/unpin", "POST"): "unpin",
    ("/infer/{model_name}", "POST"): "infer",
    ("/objects", "POST"): "announce",
    ("/infer/{model_name}/async", "POST"): "submit",
    ("/jobs/{job_id}", "GET"): "job",
    ("/jobs/{job_id}", "DELETE"): "cancel",
    ("/jobs/{job_id}/result", "GET"): "result",
    ("/jobs/{job_id}/events", "GET"): "job_events",
    ("/modelmora/v1/requests", "POST"): "miraveja_submit",
    ("/modelmora/v1/requests/{requestId}", "GET"): "miraveja_status",
    ("/modelmora/v1/requests/{requestId}", "DELETE"): "miraveja_withdraw",
    ("/modelmora/v1/requests/{requestId}/image", "GET"): "miraveja_image",
    ("/modelmora/v1/models", "GET"): "miraveja_models",
    ("/modelmora/v1/availability", "GET"): "miraveja_availability",
    ("/v1/models", "GET"): "openai_models",
    ("/v1/models/{model_name}", "GET"): "openai_model",
    ("/v1/chat/completions", "POST"): "openai_chat",
    ("/v1/completions", "POST"): "openai_complete",
    ("/v1/embeddings", "POST"): "openai_embed",
    ("/v1/images/generations", "POST"): "openai_draw",
    ("/v1/moderations", "POST"): "openai_moderate",
    ("/v1/rerank", "POST"): "openai_rerank",
    ("/v1/files", "POST"): "openai_upload",
    ("/v1/files", "GET"): "openai_files",
    ("/v1/files/{file_id}", "GET"): "openai_file",
    ("/v1/files/{file_id}", "DELETE"): "openai_delete_file",
    ("/v1/files/{file_id}/content", "GET"): "openai_file_content",
    ("/v1/batches", "POST"): "openai_create_batch",
    ("/v1/batches", "GET"): "openai_batches",
    ("/v1/batches/{batch_id}", "GET"): "openai_batch",
    ("/v1/batches/{batch_id}/cancel", "POST"): "openai_cancel_batch",
    ("/api/version", "GET"): "ollama_version",
    ("/api/tags", "GET"): "ollama_tags",
    ("/api/ps", "GET"): "ollama_ps",
    ("/api/show", "POST"): "ollama_show",
    ("/api/generate", "POST"): "ollama_generate",
    ("/api/chat", "POST"): "ollama_chat",
    ("/api/embed", "POST"): "ollama_embed",
    ("/api/embeddings", "POST"): "ollama_embeddings",
    ("/v2", "GET"): "oip_server",
    ("/v2/health/live", "GET"): "oip_live",
    ("/v2/health/ready", "GET"): "oip_ready",
    ("/v2/models/{model_name}", "GET"): "oip_model",
    ("/v2/models/{model_name}/ready", "GET"): "oip_model_ready",
    ("/v2/models/{model_name}/infer", "POST"): "oip_infer",
    ("/v2/models/{model_name}/versions/{version}", "GET"): "oip_model_version",
    ("/v2/models/{model_name}/versions/{version}/ready", "GET"): "oip_model_ready_version",
    ("/v2/models/{model_name}/versions/{version}/infer", "POST"): "oip_infer_version",
    ("/v2/repository/index", "POST"): "oip_index",
    ("/v2/repository/models/{model_name}/load", "POST"): "oip_load",
    ("/v2/repository/models/{model_name}/unload", "POST"): "oip_unload",
}
globals().update(
    {f"test_{name}": answers_are_as_described(*each) for each, name in OPERATIONS.items()}
)


def test_the_public_operations_are_described() -> None:
    paths = create_app(FakeHall(), Metrics(), 1).openapi()["paths"]
    told = {(path, method.upper()) for path, each in paths.items() for method in each}
    assert told == set(OPERATIONS)
