"""Chaos by hand: exit code 0 when nothing is violated, else 1."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.faults.chaos.plan import Plan, soak
from tests.faults.chaos.run import run
from tests.faults.chaos.strikes import KINDS


def planned(argv: list[str]) -> tuple[Plan, argparse.Namespace]:
    """The options, and the plan that they make."""
    names = {kind.name: kind for kind in KINDS}
    parser = argparse.ArgumentParser("python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    long = "ten minutes and 200,000 requests; memory, files and threads must stay flat"
    parser.add_argument("--soak", action="store_true", help=long)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rate", type=float, help="requests a second")
    parser.add_argument("--nodes", type=int)
    only = f"kinds of fault, with commas between: {', '.join(names)}; default: all"
    parser.add_argument("--only", help=only)
    parser.add_argument("--json", type=Path, default=Path("chaos.json"))
    parser.add_argument("--folder", type=Path, help="kept; default: one that is deleted")
    options = parser.parse_args(argv)
    plan = soak(options.seed) if options.soak else Plan(options.seed)
    asked = {"nodes": options.nodes, "minutes": options.minutes, "rate": options.rate}
    if options.only:
        try:
            asked["kinds"] = tuple(names[name.strip()] for name in options.only.split(","))
        except KeyError as error:
            parser.error(f"there is no fault {error}")
    plan = replace(plan, **{name: value for name, value in asked.items() if value})
    return plan, options


def main(argv: list[str]) -> int:
    """Read the options, run, tell."""
    plan, options = planned(argv)
    print(f"chaos: {plan}", flush=True)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        report = run(plan, options.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="modelmora-chaos-") as folder:
            report = run(plan, Path(folder))
    options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    for fault in report.faults:
        print(fault)
    print(report, flush=True)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
