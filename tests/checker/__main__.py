"""The checker by hand: exit code 0 when nothing is violated, else 1."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

import psutil
from confluent_kafka import KafkaException

from tests.checker import Delivery, Sampler, Verdict, gather, judge, read_ids
from tests.checker.evidence import Sample


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.checker", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True, metavar="H:P")
    parser.add_argument("--group", required=True, help="the nodes' consumer group")
    ids = "one JSON line {request_id, topic, sha256} per request"
    parser.add_argument("--ids", required=True, type=Path, metavar="FILE", help=ids)
    parser.add_argument("--namespace", default="modelmora")
    once = "exactly_once: no outcome may be repeated"
    parser.add_argument("--delivery", type=Delivery, default=Delivery.AT_LEAST_ONCE, help=once)
    watch = "first sample commits, for so long or while that process lives"
    parser.add_argument("--watch", metavar="PIDFILE|SECONDS", help=watch)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _watch(options: argparse.Namespace) -> tuple[Sample, ...]:
    if not options.watch:
        return ()
    with Sampler(options.bootstrap_servers, options.group, options.namespace) as sampler:
        try:
            time.sleep(float(options.watch))
        except ValueError:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(Path(options.watch).read_text())).wait()
    return sampler.samples


def _print(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        violations = [{"kind": v.kind, "what": v.what} for v in verdict.violations]
        print(json.dumps({"violations": violations, "counts": verdict.counts}))
        return
    for violation in verdict.violations:
        print(violation)
    print(", ".join(f"{name} {count}" for name, count in verdict.counts.items()))


def main(argv: list[str]) -> int:
    """Gather, judge, print."""
    options = _arguments(argv)
    try:
        evidence = gather(
            options.bootstrap_servers,
            options.group,
            options.namespace,
            read_ids(options.ids),
            samples=_watch(options),
            delivery=options.delivery,
        )
    except (KafkaException, OSError) as error:
        print(f"the evidence cannot be read: {error}", file=sys.stderr)
        return 1
    verdict = judge(evidence)
    _print(verdict, as_json=options.json)
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
