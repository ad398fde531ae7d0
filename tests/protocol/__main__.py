"""`python -m tests.protocol [--seed N] [--count N]`: schedules from a seed on, until one fails."""

from __future__ import annotations

import argparse
import sys
import time

from tests.protocol.search import LENGTH, search


def main() -> int:
    """How it went; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=LENGTH)
    asked = parser.parse_args()
    began, used = time.monotonic(), time.process_time()
    found = search(range(asked.seed, asked.seed + asked.count), asked.length)
    if found:
        sys.stdout.write(f"{found}\n")
        return 1
    took, used = time.monotonic() - began, time.process_time() - used
    rate = asked.count / used * 60
    sys.stdout.write(f"{asked.count} schedules in {took:.1f} s, {rate:.0f} a minute of CPU\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
