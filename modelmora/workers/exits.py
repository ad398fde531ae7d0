"""Notices the end of a process and owns its exit code."""

from __future__ import annotations

import asyncio
import os

from modelmora.workers import linux


async def wait_exit(pid: int) -> int | None:
    """Wait for a child process to end and reap it.

    Returns its exit code, negative for a signal; None if somebody else reaped it. Watches a
    pidfd where the system has one, else waits in a thread.
    """
    loop = asyncio.get_running_loop()
    if not linux.supported:
        return await loop.run_in_executor(None, reap, pid)
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return reap(pid)
    ended = loop.create_future()
    loop.add_reader(fd, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return reap(pid)


def reap(pid: int) -> int | None:
    """Take the exit code of a child that has ended, waiting for it if need be."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status)


def _settle(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
