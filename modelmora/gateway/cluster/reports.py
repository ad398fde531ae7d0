"""What was found of the audit, as both doors tell it: the first of what there may be much of."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any

from modelmora.audit.verifying import Report

MOST_FINDINGS, MOST_WRITERS = 100, 1000
MOST_LOST = 10
"""What is shown of all that one process says it could not write."""


def told_report(report: Report) -> dict[str, Any]:
    """All counts, and the first findings and processes."""
    return {
        "holds": not report.findings,
        "records": report.records,
        "repeated": report.repeated,
        "heads": report.anchors,
        "faults": len(report.findings),
        "findings": [asdict(each) for each in report.findings[:MOST_FINDINGS]],
        "writers": [
            {
                "writer": each.name,
                "public_key": each.public_key.hex(),
                "first": each.first,
                "last": each.last,
                "heads": each.heads,
                "ended": each.ended,
                "lost": each.lost[:MOST_LOST],
            }
            for each in islice(report.writers.values(), MOST_WRITERS)
        ],
    }
