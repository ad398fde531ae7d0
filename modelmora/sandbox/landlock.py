"""Landlock: which files a process may open, and no TCP, no signals to others (landlock(7))."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from modelmora.sandbox import kernel

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_NET = 0b11  # bind, connect
_SCOPE = 0b11  # abstract UNIX sockets, signals


def version() -> int:
    """The kernel's Landlock ABI; 0 where it has none, or has it switched off."""
    with suppress(OSError):
        return kernel.call(_CREATE_RULESET, None, 0, _VERSION)
    return 0


def restrict(readable: Iterable[Path], devices: Iterable[Path] = ()) -> None:
    """Let this thread, and what it starts, read what is beneath these paths and nothing else.

    Nothing may be written, made or started, except that `devices` may be read and written. Open
    files stay open. Paths that do not exist are passed over. Raises OSError.
    """
    abi = version()
    handled = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        handled |= right if abi >= since else 0
    net, scope = (_NET if abi >= 4 else 0), (_SCOPE if abi >= 6 else 0)
    length = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = kernel.call(
        _CREATE_RULESET, struct.pack("<QQQ", handled, net, scope)[:length], length, 0
    )
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        for path in devices:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & handled)
        kernel.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what cannot be found here could not be opened later either
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= ~_READ_DIR
        kernel.call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("<Qi", rights, fd), 0)
    finally:
        os.close(fd)
