"""Orders to a child that is just dying: without effect, and never an error."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
import uvloop

from tests.integration.worker_rig import group, spec_of, supervised


async def _order_until_it_is_gone() -> int:
    async with supervised() as (supervisor, recorder):
        supervisor.load(0, spec_of("echo"))
        await recorder.wait("loaded", 0)
        os.kill(supervisor.pids[0], signal.SIGKILL)
        orders = 0
        while ("exited", 0) not in recorder.log:
            orders += 1
            supervisor.run(group(orders, 0, [["a"]]))
            supervisor.cancel(orders, 0)
            await asyncio.sleep(0)
        return orders


@pytest.mark.row("F1")
def test_orders_to_a_dying_child_are_no_error() -> None:
    """On the loop of the node: there a closed transport refuses to be written to."""
    assert uvloop.run(_order_until_it_is_gone()) > 0
