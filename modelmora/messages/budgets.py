"""What a process has used of a budget: one record of those that share it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetRecord:
    """So much was `spent` of a bucket since the writer's last record of it.

    `owed` is what the bucket lacks by all that its writer knows. Without a `bucket` it says that
    the writer runs, and no more.
    """

    writer: str
    bucket: str
    spent: float
    owed: float
