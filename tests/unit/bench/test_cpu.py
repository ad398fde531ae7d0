"""CPU time is that of the processes asked for, within the block."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from modelmora.bench.cpu import spent


def test_work_counts_where_it_is_done() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        with spent({"here": [os.getpid()], "there": [idle.pid]}) as cpu_s:
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
        idle.communicate(b"\n")
    assert cpu_s["here"] > 0.2
    assert cpu_s["there"] < cpu_s["here"]
