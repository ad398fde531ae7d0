"""A child that is forked while its node dies."""

from __future__ import annotations

import subprocess
import sys

from tests.programs import CAP_S, ROOT

ADOPTED_BY_ANOTHER = """
import os, socket
from modelmora.workers import linux
from modelmora.workers.child.zygote import fork

linux.become_subreaper()
gone = os.fork()
if not gone:
    os._exit(0)
os.waitpid(gone, 0)
ours, _ = socket.socketpair()
child = fork(ours.fileno(), gone, {})
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_it_ends_though_who_adopts_it_is_not_process_1() -> None:
    words = [sys.executable, "-c", ADOPTED_BY_ANOTHER]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=CAP_S)
    assert (told.stdout, told.stderr) == ("1\n", "")
