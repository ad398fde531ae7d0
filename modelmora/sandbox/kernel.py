"""System calls that Python has no function for, by their numbers on this machine."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_NO_NEW_PRIVS = 38  # prctl(2), PR_SET_NO_NEW_PRIVS
_SET_TIMERSLACK, _GET_TIMERSLACK = 29, 30
_CAPABILITIES = 0x20080522  # capset(2), version 3
_DAC_READ_SEARCH = 1 << 2
machine = platform.machine()


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """syscall(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *map(_word, arguments)))
    _check(result)
    return result


def give_up_privileges() -> None:
    """Root's privileges, and those a program would gain by its file, are gone for ever.

    But for the right to read what root may, where it is there: a model may be another user's.
    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITIES, 0)
    present = ctypes.create_string_buffer(24)
    _check(libc.capget(ctypes.create_string_buffer(header), present))
    kept = struct.unpack_from("=I", present, 4)[0] & _DAC_READ_SEARCH
    # Effective, permitted, inheritable; twice, for capabilities from 0 and from 32.
    wanted = struct.pack("=IIIIII", kept, kept, 0, 0, 0, 0)
    _check(libc.capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(wanted)))
    _check(libc.prctl(_NO_NEW_PRIVS, *(ctypes.c_ulong(word) for word in (1, 0, 0, 0))))


@contextmanager
def unhurried(slack_ns: int) -> Iterator[None]:
    """Threads started here wake up from a sleep up to so much later, for all their life."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.prctl(_GET_TIMERSLACK)
    _check(libc.prctl(_SET_TIMERSLACK, ctypes.c_ulong(slack_ns)))
    try:
        yield
    finally:
        _check(libc.prctl(_SET_TIMERSLACK, ctypes.c_ulong(before)))


def _check(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _word(
    argument: int | bytes | ctypes.Array[ctypes.c_char] | None,
) -> ctypes.c_long | bytes | ctypes.Array[ctypes.c_char] | None:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
