"""seccomp: which system calls a process may make (seccomp(2)); all but those that lead out."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelmora.sandbox import kernel

_SET_MODE_FILTER, _TSYNC = 1, 1
# Classic BPF (linux/bpf_common.h), over struct seccomp_data: number, architecture, ip, arguments.
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT_0 = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_DENY = _ERRNO | errno.EPERM
_X32 = 0x40000000
_AF_UNIX = 1
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* but CLONE_NEWTIME, which clone(2) cannot take


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The system calls of one architecture."""

    audit: int
    seccomp: int
    socket: int
    clone: int
    clone3: int
    listen: int
    accept4: int
    kill: int
    tgkill: int
    denied: Mapping[str, int]


# A socket of our own is inherited; to connect one, to see, signal or start another process, to
# change what the kernel mounts or loads, and the ways around this filter, are no part of computing
# a model. Signals and truncate are Landlock's too, in kernels that are new enough.
_NUMBERS: Mapping[str, _Numbers] = {
    "x86_64": _Numbers(
        audit=0xC000003E,
        seccomp=317,
        socket=41,
        clone=56,
        clone3=435,
        listen=50,
        accept4=288,
        kill=62,
        tgkill=234,
        denied={
            "connect": 42, "bind": 49, "execve": 59, "execveat": 322, "ptrace": 101,
            "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438,
            "open_by_handle_at": 304, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
            "pivot_root": 155, "chroot": 161, "kexec_load": 246, "init_module": 175,
            "finit_module": 313, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
            "io_uring_setup": 425, "keyctl": 250, "add_key": 248, "request_key": 249,
            "swapon": 167, "reboot": 169, "tkill": 200, "rt_sigqueueinfo": 129,
            "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424, "truncate": 76,
        },
    ),
    "aarch64": _Numbers(
        audit=0xC00000B7,
        seccomp=277,
        socket=198,
        clone=220,
        clone3=435,
        listen=201,
        accept4=242,
        kill=129,
        tgkill=131,
        denied={
            "connect": 203, "bind": 200, "execve": 221, "execveat": 281, "ptrace": 117,
            "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438,
            "open_by_handle_at": 265, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39,
            "pivot_root": 41, "chroot": 51, "kexec_load": 104, "init_module": 105,
            "finit_module": 273, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
            "io_uring_setup": 425, "keyctl": 219, "add_key": 217, "request_key": 218,
            "swapon": 224, "reboot": 142, "tkill": 130, "rt_sigqueueinfo": 138,
            "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424, "truncate": 45,
        },
    ),
}  # fmt: skip


def is_there() -> bool:
    """Whether the kernel has filters, and the calls of this architecture are known here."""
    return kernel.machine in _NUMBERS and Path("/proc/sys/kernel/seccomp").exists()


def restrict() -> None:
    """Refuse those calls to every thread of this process, for ever, with EPERM.

    It needs `kernel.give_up_privileges` first, unless run by root. Raises OSError; KeyError where
    the architecture is not known.
    """
    _install(_NUMBERS[kernel.machine], program(_NUMBERS[kernel.machine], os.getpid()))


def pretend_to_listen() -> None:
    """Let bind and listen do nothing from now on, and say that they did it; for ever.

    For a library that computes without a server, but not without having started one. To accept is
    refused as by a process with too many open files, which servers try again. Of two filters that
    refuse, the later one says with which error, here none. Raises as `restrict`.
    """
    numbers = _NUMBERS[kernel.machine]
    code = [
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_EQ, numbers.denied["bind"], 1, 0),
        _instruction(_JUMP_EQ, numbers.listen, 0, 1),
        _instruction(_RETURN, _ERRNO),
        _instruction(_JUMP_EQ, numbers.accept4, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.EMFILE),
        _instruction(_RETURN, _ALLOW),
    ]
    _install(numbers, b"".join(code))


def _install(numbers: _Numbers, filters: bytes) -> None:
    code = ctypes.create_string_buffer(filters)
    count = (len(code) - 1) // 8
    head = struct.pack("@HP", count, ctypes.addressof(code))
    kernel.call(numbers.seccomp, _SET_MODE_FILTER, _TSYNC, ctypes.create_string_buffer(head))


def program(numbers: _Numbers, pid: int) -> bytes:
    """The filter for the process of this pid, 8 bytes an instruction.

    (1) Another architecture's calls: killed; those of x32: refused.
    (2) The list.
    (3) A socket that is no UNIX socket.
    (4) A clone into a new namespace; clone3, whose flags cannot be seen, does not exist, so that
        C libraries fall back on clone.
    (5) A signal to another process than itself.
    (6) All else is allowed.
    """
    deny, allow = _instruction(_RETURN, _DENY), _instruction(_RETURN, _ALLOW)
    code = [
        # (1)
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQ, numbers.audit, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_GE, _X32, 0, 1),
        deny,
    ]
    # (2)
    for number in numbers.denied.values():
        code += [_instruction(_JUMP_EQ, number, 0, 1), deny]
    code += [
        # (3)
        _instruction(_JUMP_EQ, numbers.socket, 0, 4),
        _instruction(_LOAD, _ARGUMENT_0),
        _instruction(_JUMP_EQ, _AF_UNIX, 0, 1),
        allow,
        deny,
        # (4)
        _instruction(_JUMP_EQ, numbers.clone3, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        _instruction(_JUMP_EQ, numbers.clone, 0, 4),
        _instruction(_LOAD, _ARGUMENT_0),
        _instruction(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
        deny,
        allow,
        # (5)
        _instruction(_JUMP_EQ, numbers.kill, 1, 0),
        _instruction(_JUMP_EQ, numbers.tgkill, 0, 3),
        _instruction(_LOAD, _ARGUMENT_0),
        _instruction(_JUMP_EQ, pid, 1, 0),
        deny,
        # (6)
        allow,
    ]
    return b"".join(code)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)
