"""Checks the delivery invariants on any cluster: `python -m tests.checker --help`."""

from tests.checker.evidence import (
    DeadLetter,
    Delivery,
    Evidence,
    Expected,
    Fault,
    Outcome,
    Place,
    Request,
    Sample,
    Told,
    read_ids,
)
from tests.checker.judge import Verdict, Violation, judge
from tests.checker.reading import Cluster, gather
from tests.checker.sampler import Sampler

__all__ = [
    "Cluster",
    "DeadLetter",
    "Delivery",
    "Evidence",
    "Expected",
    "Fault",
    "Outcome",
    "Place",
    "Request",
    "Sample",
    "Sampler",
    "Told",
    "Verdict",
    "Violation",
    "gather",
    "judge",
    "read_ids",
]
