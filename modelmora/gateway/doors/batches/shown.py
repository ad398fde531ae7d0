"""Files and batches as clients of OpenAI's read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from modelmora.errors import Code
from modelmora.gateway.batches.state import Batch, File, Standing
from modelmora.gateway.outcomes import Refusal

Item = TypeVar("Item", bound=File | Batch)


def file_form(file: File) -> dict[str, Any]:
    """A file; times in seconds."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_at // 1000,
        "expires_at": file.expires_at // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_form(batch: Batch) -> dict[str, Any]:
    """A batch; times in seconds."""
    made = {file.name.rpartition("_")[2]: file.id for file in batch.files()}
    faults = [
        {"code": each.code, "message": each.message, "line": each.line, "param": each.param}
        for each in batch.faults
    ]
    ends = (Standing.COMPLETED, Standing.FAILED, Standing.EXPIRED, Standing.CANCELLED)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": batch.file_id,
        "completion_window": "24h",
        "status": batch.standing,
        "output_file_id": made.get("output.jsonl"),
        "error_file_id": made.get("errors.jsonl"),
        "created_at": batch.created_at // 1000,
        "in_progress_at": _seconds(batch.begun_at),
        "expires_at": batch.expires_at // 1000,
        "cancelling_at": _seconds(batch.cancelled_at),
        **{f"{end}_at": _seconds(batch.ended_at) if batch.end is end else None for end in ends},
        "finalizing_at": _seconds(batch.ended_at) if batch.end is Standing.COMPLETED else None,
        "request_counts": {
            "total": batch.total or 0,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "metadata": batch.metadata,
    }


def page_of(
    found: Sequence[Item],
    asked: Mapping[str, str],
    form: Callable[[Item], dict[str, Any]],
    *,
    limit: int,
    most: int,
) -> dict[str, Any]:
    """A page of a list, the newest first unless `order` is `asc`. Raises Refusal."""
    if (order := asked.get("order", "desc")) not in ("asc", "desc"):
        raise Refusal(Code.INVALID_INPUT, "order: is one of asc, desc")
    items = [*found] if order == "asc" else [*reversed(found)]
    if after := asked.get("after"):
        places = [at for at, each in enumerate(items) if each.id == after]
        if not places:
            raise Refusal(Code.INVALID_INPUT, "after: is the id of none of these")
        items = items[places[0] + 1 :]
    given = asked.get("limit", str(limit))
    if not (given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= most):
        raise Refusal(Code.INVALID_INPUT, f"limit: is a whole number from 1 to {most}")
    page = items[: int(given)]
    return {
        "object": "list",
        "data": [form(each) for each in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(items) > len(page),
    }


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000
