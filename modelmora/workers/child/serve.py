"""The child process: one model, one socket; loads, runs groups, answers micro-batch by micro-batch.

Entered by a fork of the zygote, or by `__main__` as a program in a fresh interpreter.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from modelmora.engines.adapters import ADAPTER, adapter_files
from modelmora.engines.base import (
    Engine,
    LoadError,
    SteppedEngine,
    is_out_of_memory,
    make_engine,
)
from modelmora.engines.folders import check_unchanged, model_files
from modelmora.engines.graphs.forms import form_beside
from modelmora.errors import Code
from modelmora.resources import private_memory
from modelmora.sandbox import Enclosure, Mode, Unenclosed, enclose
from modelmora.workers import linux, protocol
from modelmora.workers.batches import encode_batches
from modelmora.workers.child.execution import GroupRun, SafeSize, log, place_of
from modelmora.workers.child.mailbox import GroupDesk, Inbox, Outbox, StepDesk
from modelmora.workers.child.stepping import SteppedRuns
from modelmora.workers.child.trial import fault_of
from modelmora.workers.protocol import Kind, ProtocolError, Run

EXIT_PROTOCOL = 71


def serve(sock: socket.socket, node: int) -> int:
    """Be one model's process until the node closes the socket; returns the exit code.

    The node ends a child by SIGKILL; should the node itself end, the child follows.
    """
    _settle(node)
    inbox = Inbox(sock)
    try:
        order = inbox.wait_for_load()
        engine = _load(sock, order)
        if engine is None:
            return 0
        if isinstance(engine, SteppedEngine):
            _run_steps(sock, inbox, engine)
        safe = SafeSize(order.get("safe_cost"))
        while True:
            _run_group(sock, inbox, engine, safe, inbox.next_run())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    except ProtocolError as error:
        log.error("%s", error)
        return EXIT_PROTOCOL


def _settle(node: int) -> None:
    """What every child does first: die with the node, leave no core file, log to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if linux.supported:
        import resource

        linux.die_with_parent(node)
        linux.set_process_name("mm-child")
        # A core file would hold the content of requests.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(
        level=logging.WARNING, format=f"modelmora child {os.getpid()}: %(message)s", force=True
    )


def _load(sock: socket.socket, order: Mapping[str, Any]) -> Engine | SteppedEngine | None:
    """Make the engine, load the model, try it if told so; None after LOAD_FAILED was sent."""
    label = f"{order['name']}@{order['version']}"
    if linux.supported:
        linux.set_process_name(f"mm:{order['name']}")
    try:
        if order["path"]:
            model_files(Path(order["path"]))
            if order["adapter"]:
                adapter_files(Path(order["adapter"]))
            check_unchanged(order["unchanged"])
        # Libraries may ask more of the system than models may: they are imported first.
        engine = make_engine(order["engine"])
        if "torch" in sys.modules:
            import_module("torch._dynamo")  # makes a folder, and every transformer imports it
        enclosure = _enclose(order)
        options = {**order["options"], ADAPTER: order["adapter"]}
        info = dict(engine.load(Path(order["path"]), options))
        if order.get("warm_up"):
            info["warm_up_ms"] = _try(engine, b64decode(order["warm_up"]))
    except LoadError as error:
        _refuse(sock, error.code, error.message)
        return None
    except Exception as error:  # noqa: BLE001  # an engine may raise anything
        log.warning("%s cannot be loaded: %s", label, place_of(error), exc_info=error)
        _refuse(sock, *_load_fault(error))
        return None
    gc.collect()
    gc.freeze()
    info["sandbox"] = str(enclosure)
    info["private_bytes"] = private_memory(os.getpid())
    sock.sendall(protocol.encode_json(Kind.LOADED, info))
    return engine


def _try(engine: Engine | SteppedEngine, request: bytes) -> float:
    """Run a first request; returns how many ms it took. Raises LoadError."""
    began = time.perf_counter()
    if fault := fault_of(engine, request):
        raise LoadError(
            Code.MODEL_UNAVAILABLE, f"its test request failed: {fault.code.value}: {fault.message}"
        )
    return round((time.perf_counter() - began) * 1e3, 1)


def _enclose(order: Mapping[str, Any]) -> Enclosure:
    """Before anything of the model is read. Raises LoadError."""
    folder = Path(order["path"]) if order["path"] else None
    adapter = Path(order["adapter"]) if order["adapter"] else None
    try:
        return enclose(
            Mode(order["sandbox"]),
            folder,
            beside=(form_beside(order["options"]), adapter),
            devices=bool(os.environ.get("CUDA_VISIBLE_DEVICES")),
        )
    except Unenclosed as error:
        raise LoadError(Code.CANNOT_BE_SERVED, str(error)) from None


def _load_fault(error: Exception) -> tuple[Code, str]:
    if isinstance(error, ImportError) and error.name:
        return Code.MODEL_UNAVAILABLE, (
            f"the package {error.name} is missing on the node: pip install 'modelmora[engines]'"
        )
    if is_out_of_memory(error):
        return Code.OUT_OF_MEMORY, "the model does not fit in the memory of the node"
    return Code.MODEL_UNAVAILABLE, f"the model cannot be loaded ({place_of(error)}); see the log"


def _refuse(sock: socket.socket, code: Code, message: str) -> None:
    sock.sendall(protocol.encode_json(Kind.LOAD_FAILED, {"code": code.value, "message": message}))


def _run_group(sock: socket.socket, inbox: Inbox, engine: Engine, safe: SafeSize, run: Run) -> None:
    started = time.perf_counter()
    sock.sendall(protocol.encode_started(run.group))
    inbox.share_cores(engine.use_threads)
    outbox = Outbox(sock, run.group)
    control = GroupDesk(inbox, outbox, run.group, engine.use_threads)
    group = GroupRun(engine, run, safe, control, outbox.answer)
    group.execute()
    inbox.done(run.group)
    last = protocol.encode_done(run.group, (time.perf_counter() - started) * 1e3)
    if group.batches and inbox.tells_batches:
        last = encode_batches(run.group, group.batches) + last
    outbox.flush(last)


def _run_steps(sock: socket.socket, inbox: Inbox, engine: SteppedEngine) -> NoReturn:
    """Step what is there; what comes meanwhile joins between two steps."""
    desk = StepDesk(sock, inbox)
    runs = SteppedRuns(engine, desk)
    while True:
        if runs.busy:
            inbox.poll()
        else:
            runs.take(inbox.next_run())
        while inbox.has_run:
            runs.take(inbox.next_run())
        inbox.share_cores(engine.use_threads)
        runs.turn()
        desk.flush()
