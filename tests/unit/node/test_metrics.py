"""What a node counts of outcomes and batches."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from modelmora.errors import Code
from modelmora.messages import ErrorInfo, Parameter, ResultHead, Source, Status
from modelmora.node.metrics import NodeMetrics
from modelmora.workers import Batches

COUNTED = ("modelmora_token_usage_count", "modelmora_token_usage_sum")


def ended(settings: Mapping[str, Parameter], status: Status = Status.COMPLETED) -> ResultHead:
    error = None if status is Status.COMPLETED else ErrorInfo(Code.WORKER_CRASH, "")
    return ResultHead("r", status, "m", "1", Source("t", 0, 0), settings, error)


def told(metrics: NodeMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "m", **labels})


def usage(metrics: NodeMetrics, kind: str) -> list[float | None]:
    return [told(metrics, name, token_type=kind) for name in COUNTED]


def test_tokens_are_counted_by_kind_in_the_buckets_of_the_conventions() -> None:
    metrics = NodeMetrics()
    for tokens in (3, 17):
        metrics.outcome(ended({"prompt_tokens": tokens, "completion_tokens": 2 * tokens}), "m")
    assert usage(metrics, "input") == [2, 20]
    assert usage(metrics, "output") == [2, 40]
    bucket, bounds = "modelmora_token_usage_bucket", ("1.0", "4.0", "64.0", "67108864.0")
    found = [told(metrics, bucket, token_type="input", le=bound) for bound in bounds]
    assert found == [0, 1, 2, 2]


@pytest.mark.parametrize("odd", [None, -1, 0, "7", 1.5, True, ("a",)])
def test_what_is_no_number_of_tokens_is_not_counted(odd: Parameter) -> None:
    metrics = NodeMetrics()
    metrics.outcome(ended({"prompt_tokens": odd}), "m")
    assert usage(metrics, "input") == [None, None]


def test_tokens_of_what_failed_are_not_counted() -> None:
    metrics = NodeMetrics()
    metrics.outcome(ended({"prompt_tokens": 3}, Status.FAILED), "m")
    assert usage(metrics, "input") == [None, None]


def test_batches_are_counted_with_what_of_them_was_padding() -> None:
    metrics = NodeMetrics()
    first, second = Batches(), Batches()
    first.add(3, 10, 15)
    first.add(1, 4, 4)
    second.add(3, 9, 12)
    metrics.batched("m", first)
    metrics.batched("m", second)
    assert told(metrics, "modelmora_batch_rows_count") == 3
    assert told(metrics, "modelmora_batch_rows_sum") == 7
    assert [told(metrics, "modelmora_batch_rows_bucket", le=le) for le in ("1.0", "4.0")] == [1, 3]
    assert told(metrics, "modelmora_batch_tokens_total") == 31
    assert told(metrics, "modelmora_batch_padding_tokens_total") == 8


def test_what_pads_nothing_tells_no_padding() -> None:
    metrics, steps = NodeMetrics(), Batches()
    steps.add(5)
    metrics.batched("m", steps)
    assert told(metrics, "modelmora_batch_rows_sum") == 5
    assert told(metrics, "modelmora_batch_tokens_total") is None
