"""Notices the end of a process and owns its exit code."""

from __future__ import annotations

import asyncio
import errno
import os

from modelmora.workers import linux

NO_DESCRIPTOR_S = 0.1
"""Between two looks whether there is one again."""


async def wait_exit(pid: int) -> int | None:
    """Wait for a child process to end and reap it.

    Returns its exit code, negative for a signal; None if somebody else reaped it. Watches a
    pidfd where the system has one, else waits in a thread.
    """
    loop = asyncio.get_running_loop()
    if not linux.supported:
        return await loop.run_in_executor(None, reap, pid)
    try:
        fd = await _pidfd(pid)
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


async def _pidfd(pid: int) -> int:
    """Raises ProcessLookupError. One that cannot be watched for now is not lost sight of."""
    while True:
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            await asyncio.sleep(NO_DESCRIPTOR_S)


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
