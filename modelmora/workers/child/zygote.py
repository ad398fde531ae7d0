"""The zygote process: imports the model libraries once and forks a child for each load.

It stays single threaded and never runs an operation nor asks for a device: a fork taken after
either gives children that hang in their first operation. It speaks JSON datagrams over the
socket given to it: {"fork": token, "environment": {...}} with the child's socket attached
(SCM_RIGHTS) is answered by {"token", "pid"} or {"token", "refused"}, {"ping"} by {"alive"}.

The child is forked twice, so that the node, a child subreaper, becomes its parent and owns its
exit code; so a child outlives its zygote.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modelmora.workers import linux
from modelmora.workers.child.serve import serve

DATAGRAM = 64 << 10
# transformers imports these where they are installed, 70 MB for training metrics.
UNWANTED = ("scipy", "sklearn")
# It needs them; without it they are not there for its children to share.
WANTS_THEM = "sentence_transformers"
_PID = struct.Struct("<i")


def main(arguments: Sequence[str]) -> None:
    """Serve forks until the node closes the socket; arguments: fd, node's pid, module names."""
    control_fd, node, *modules = arguments
    linux.die_with_parent(int(node))
    linux.set_process_name("mm-zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(control_fd))
    started = time.monotonic()
    missing = preload(modules)
    ready = {
        "ready_ms": (time.monotonic() - started) * 1e3,
        "threads": linux.thread_count(),
        "missing": missing,
    }
    control.send(json.dumps({"ready": ready}).encode())
    while True:
        data, fds, _flags, _address = socket.recv_fds(control, DATAGRAM, 1)
        if not data:
            os._exit(0)  # the libraries have nothing to put away, and complain while they do
        request = json.loads(data)
        if "ping" in request:
            control.send(b'{"alive": true}')
            continue
        try:
            answer: dict[str, Any] = {"pid": fork(fds[0], int(node), request["environment"])}
        except OSError as error:
            answer = {"refused": str(error)}
        os.close(fds[0])
        control.send(json.dumps({"token": request["fork"], **answer}).encode())


def preload(modules: Sequence[str]) -> list[str]:
    """Import what models need, where it is installed; returns the names that are not.

    A module of somebody else's may raise anything: its engine then imports it in the child.
    """
    missing = []
    unwanted = () if WANTS_THEM in modules else UNWANTED
    hidden = [name for name in unwanted if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None = not to be had
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001
            missing.append(name)
    for name in hidden:
        del sys.modules[name]
    # Pages that the collector never touches stay shared with the children.
    gc.collect()
    gc.freeze()
    return missing


def fork(fd: int, node: int, environment: Mapping[str, str | None]) -> int:
    """Fork a child that serves the socket `fd`; returns its pid. Raises OSError when it cannot."""
    threads = linux.thread_count()
    if threads != 1:
        raise OSError(f"the zygote has {threads} threads, so a fork is not safe")
    reader, writer = os.pipe()
    intermediate = os.fork()
    if intermediate == 0:
        _intermediate(fd, node, environment, writer)
    os.close(writer)
    try:
        answer = os.read(reader, _PID.size)
    finally:
        os.close(reader)
        os.waitpid(intermediate, 0)
    pid = _PID.unpack(answer)[0] if len(answer) == _PID.size else 0
    if pid <= 0:
        raise OSError(-pid, os.strerror(-pid), "fork")
    return int(pid)


def _intermediate(
    fd: int, node: int, environment: Mapping[str, str | None], writer: int
) -> NoReturn:
    own = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        _become_child(fd, node, own, environment)
    os.write(writer, _PID.pack(pid))
    os._exit(0)


def _become_child(
    fd: int, node: int, intermediate: int, environment: Mapping[str, str | None]
) -> NoReturn:
    """The forked child: adopted by the node, with nothing of the zygote but its memory."""
    code = 70
    try:
        while (parent := os.getppid()) == intermediate:
            time.sleep(0.0002)
        if parent != node:  # which has died meanwhile; who adopts then need not be process 1
            os._exit(1)
        linux.close_other_fds({fd})
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name, value in environment.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        code = serve(socket.socket(fileno=fd), node)
    except BaseException as error:  # noqa: BLE001  # nothing may unwind into the zygote's loop
        # Its text might hold content of a request.
        sys.stderr.write(f"modelmora child {os.getpid()}: {type(error).__name__}\n")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
