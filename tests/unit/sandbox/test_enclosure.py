"""The sandbox: what an enclosed process cannot do, and what a model still can."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from modelmora.sandbox import (
    Enclosure,
    Mode,
    Unenclosed,
    enclose,
    landlock,
    missing_layers,
    seccomp,
)
from modelmora.sandbox.enclosure import readable

# Each probe is one way out. They run in a process of their own, for an enclosure is for ever.
PROBES = """
import ctypes, json, os, signal, socket, sys, threading
from pathlib import Path
from modelmora.sandbox import Mode, enclose

mode, model, data, outside = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
heir = os.open(data / "inherited", os.O_WRONLY | os.O_CREAT)
pair = socket.socketpair()
held = enclose(Mode(mode), model)
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "denied")

def unix(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)

PROBES = {
    "read a secret": lambda: (data / "secret").read_text(),
    "list a folder": lambda: os.listdir(data),
    "read /etc/passwd": lambda: open("/etc/passwd").read(),
    "write a file": lambda: (data / "new").write_text("x"),
    "write into the model": lambda: (model / "new").write_text("x"),
    "change the model": lambda: open(model / "weights", "r+"),
    "remove a file of the model": lambda: os.unlink(model / "victim"),
    "make a folder": lambda: os.mkdir(model / "folder"),
    "link": lambda: os.symlink("/etc/passwd", model / "link"),
    "tcp": lambda: socket.create_connection(("127.0.0.1", outside), 5),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "tcp over IPv6": lambda: socket.socket(socket.AF_INET6),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "another's UNIX socket": lambda: unix(str(data / "door")),
    "an abstract UNIX socket": lambda: unix("\\0modelmora-probe"),
    "listen": lambda: socket.socket(socket.AF_UNIX).bind(str(data / "mine")),
    "start a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "signal its group": lambda: os.kill(0, 0),
    "signal by file": lambda: signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0),
    "cut a file": lambda: os.truncate(model / "victim", 0),
    "look into its parent": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(),
    "new namespaces": lambda: call(272, 0x10000000),
    "trace": lambda: call(101, 16, os.getppid(), 0, 0),
    "io_uring": lambda: call(425, 1, 0),
    "load code into the kernel": lambda: call(321, 0, 0, 0),
}

def tried(probe):
    try:
        probe()
    except OSError:
        return "denied"
    return "done"

result = {name: tried(probe) for name, probe in PROBES.items()}
os.kill(os.getpid(), 0)
signal.pthread_kill(threading.get_ident(), 0)
result["read the model"] = (model / "weights").read_text()
result["read what a link in the model leads to"] = (model / "linked").read_text()
os.write(heir, b"open files stay open")
pair[0].send(b"x")
result["its own socket"] = pair[1].recv(1).decode()
import decimal, sqlite3  # a library that is not loaded yet
thread = threading.Thread(target=lambda: result.update(thread=tried(PROBES["read a secret"])))
thread.start(); thread.join()
result["layers"] = held.layers
print(json.dumps(result))
"""
FREE = {"read the model": "weights", "read what a link in the model leads to": "blob"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model whose file is a link into a cache, as the hub's are, beside a secret."""
    model, data, cache = (tmp_path / name for name in ("model", "data", "cache"))
    for folder in (model, data, cache):
        folder.mkdir()
    (cache / "blob").write_text("blob")
    (cache / "other").write_text("another model's")
    (model / "weights").write_text("weights")
    (model / "victim").write_text("")
    (model / "linked").symlink_to(cache / "blob")
    (data / "secret").write_text("secret")
    return tmp_path


def probed(place: Path, mode: Mode, probes: str = PROBES) -> dict[str, Any]:
    """What each probe came to in an enclosed process."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as door:
        door.bind(str(place / "data" / "door"))
        door.listen()
        arguments = [str(place / "model"), str(place / "data"), str(server.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-c", probes, mode.value, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probes have x86-64's numbers")
def test_every_way_out_is_denied_and_the_model_is_read(place: Path) -> None:
    found = probed(place, Mode.REQUIRED)
    assert found.pop("layers") == ["limits", "landlock", "seccomp"]
    assert {name: found.pop(name) for name in FREE} == FREE
    assert found.pop("its own socket") == "x"
    assert found == dict.fromkeys(found, "denied")
    assert (place / "data" / "inherited").read_text() == "open files stay open"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probes have x86-64's numbers")
def test_without_an_enclosure_the_probes_get_out(place: Path) -> None:
    """Else the test above would prove nothing."""
    exec_line = '    "exec": lambda: os.execv("/bin/true", ["true"]),\n'
    assert exec_line in PROBES  # it would end the probes where it is not denied
    found = probed(place, Mode.OFF, PROBES.replace(exec_line, ""))
    assert found.pop("layers") == []
    allowed = {name for name, what in found.items() if what == "done"}
    assert {"read a secret", "write a file", "tcp", "udp", "start a program"} <= allowed


def test_what_the_kernel_lacks_is_said_and_refused_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(landlock, "restrict", lacks)
    monkeypatch.setattr(seccomp, "restrict", lacks)
    monkeypatch.setattr("modelmora.sandbox.enclosure._limit", lambda: None)
    partial = enclose(Mode.BEST_EFFORT, tmp_path)
    assert partial == Enclosure(("limits",), ("landlock", "seccomp"))
    assert str(partial) == "limits without landlock, seccomp"
    with pytest.raises(Unenclosed, match="no landlock, no seccomp"):
        enclose(Mode.REQUIRED, tmp_path)


def test_landlock_counts_as_missing_where_other_threads_would_stay_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("modelmora.sandbox.enclosure._limit", lambda: None)
    monkeypatch.setattr(seccomp, "restrict", lambda: None)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        assert "landlock" in enclose(Mode.BEST_EFFORT, tmp_path).missing
    finally:
        stop.set()
        other.join()


def test_libraries_beside_our_own_are_read_unless_they_are_a_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.__file__", str(tmp_path / "modelmora" / "__init__.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tmp_path not in readable([])
    (tmp_path / "modelmora-0.1.0.dist-info").mkdir()  # as `pip install --target` leaves it
    assert tmp_path in readable([])


def test_off_does_nothing(tmp_path: Path) -> None:
    assert str(enclose(Mode.OFF, tmp_path)) == "off"
    (tmp_path / "x").write_text("still free")


def test_an_unknown_machine_lacks_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmora.sandbox.kernel.machine", "riscv64")
    assert "seccomp" in missing_layers()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probes have x86-64's numbers")
def test_where_landlock_knows_no_signals_seccomp_alone_keeps_them_in(place: Path) -> None:
    """Kernels before 6.12."""
    alone = PROBES.replace("held = enclose(Mode(mode), model)", (
        "from modelmora.sandbox import kernel, seccomp\n"
        "kernel.give_up_privileges(); seccomp.restrict()\n"
        "held = type('Held', (), {'layers': ()})"
    ))  # fmt: skip
    found = probed(place, Mode.REQUIRED, alone)
    within = (
        "signal its parent",
        "signal its group",
        "signal by file",
        "cut a file",
        "tcp",
        "exec",
    )
    assert {name: found[name] for name in within} == dict.fromkeys(within, "denied")
