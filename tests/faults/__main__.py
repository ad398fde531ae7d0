"""The fault programme by hand: exit code 0 when nothing is violated, else 1."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.checker import Delivery
from tests.faults.plan import FROZEN, KILLED, Plan
from tests.faults.programme import run


def main(argv: list[str]) -> int:
    """Read the options, run, judge."""
    whole = Plan()
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=whole.requests)
    for part in KILLED:
        parser.add_argument(f"--kills-{part}", type=int, default=whole.kills[part])
    for part in FROZEN:
        parser.add_argument(f"--freezes-{part}", type=int, default=whole.freezes[part])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--nodes", type=int, default=whole.nodes)
    parser.add_argument("--delivery", type=Delivery, default=whole.delivery)
    parser.add_argument("--folder", type=Path, help="kept; default: one that is deleted")
    options = parser.parse_args(argv)
    plan = Plan(
        options.requests,
        {part: getattr(options, f"kills_{part}") for part in KILLED},
        {part: getattr(options, f"freezes_{part}") for part in FROZEN},
        options.seed,
        options.nodes,
        options.delivery,
    )
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        return 1 if run(plan, options.folder).verdict.violations else 0
    with tempfile.TemporaryDirectory(prefix="modelmora-faults-") as folder:
        return 1 if run(plan, Path(folder)).verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
