"""`modelmora stop`, `status` and `logs`: the instance of a data folder, from another terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from modelmora.access.own import Own
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say, tell, waiting
from modelmora.errors import ModelMoraError, NotFound
from modelmora.host.detached import owner
from modelmora.host.detached import stop as stop_process
from modelmora.host.instance import Instance, call
from modelmora.host.logfile import follow as follow_log
from modelmora.host.logfile import last_lines, log_file
from modelmora.host.serve import models_of
from modelmora.text import duration, facts_line, printable

ASK_S = 2.0
NOT_READY = 1
_SHOWN_FIRST = ("timestamp", "level", "process", "event", "logger", "frames")


@finds_instance
def stop(where: Instance) -> None:
    """End the instance of the data folder and wait for it; Ctrl-C hurries it."""
    folder = where.settings.data_dir
    pid = owner(folder)
    if pid is None:
        say(f"nothing runs on {folder}")
        return
    with waiting(f"process {pid} finishes what it has started; Ctrl-C hurries it"):
        stop_process(pid, where.settings.timing.stop_s)
    say(f"stopped; models, topics and logs stay in {folder}")


@finds_instance
def status(where: Instance, json: JsonOption = False) -> int:
    """Show what runs on the data folder; exit 0 ready, 1 not ready, 3 nothing runs."""
    folder = where.settings.data_dir
    pid = owner(folder)
    if pid is None:
        raise NotFound(f"nothing runs on {folder}; `modelmora serve` starts an instance")
    parts = list(parts_of(where))
    ready = bool(parts) and all(part["state"] in ("ready", "standby") for part in parts)
    models = models_of(where.run, where.settings) if where.run else []
    if json:
        told = {"pid": pid, "ready": ready, "data_dir": str(folder.absolute())}
        print_json(told | {"parts": parts, "models": models})
        return 0 if ready else NOT_READY
    since = ""
    if where.run and where.run.started_at:
        since = f" for {duration(1000 * (time.time() - where.run.started_at))}"
    say(f"process {pid} runs on {folder}{since}" if parts else f"process {pid} is starting")
    print_table(
        ("PART", "STATE", "PID", "ADDRESS"),
        [(part["part"], part["state"], part["pid"], part["address"]) for part in parts],
        right=("PID",),
        drop=("PID",),
    )
    if models:
        tell()
        print_table(
            ("MODEL", "STATE"),
            [(f"{m['name']}@{m['version']}", m.get("reason") or m["state"]) for m in models],
            prose=True,
        )
    return 0 if ready else NOT_READY


def parts_of(where: Instance) -> Iterator[dict[str, Any]]:
    """Each process of the running instance, with what it says of itself."""
    run = where.run
    if run is None:
        return
    doors = {"broker": run.bootstrap_servers, "node": run.node_http, "gateway": run.http}
    for name, address in doors.items():
        pid = run.processes.get(name)
        if pid is None and name not in run.starting:
            continue
        since = run.starting.get(name)
        if since is not None:
            state = f"starting again ({duration(1000 * (time.time() - since))})"
        elif name == "broker":
            state = _broker_says(where, run.bootstrap_servers)
        else:
            state = _says(f"{address}/health/ready", where.own())
        yield {"part": name, "state": state, "pid": pid, "address": address}


def _broker_says(where: Instance, servers: str) -> str:
    """Whether it answers a question: one that is frozen still takes connections."""
    from modelmora.kafka.admin import Admin

    timing = where.settings.timing.model_copy(update={"broker_s": ASK_S})
    asked = where.settings.model_copy(update={"bootstrap_servers": servers, "timing": timing})
    try:
        Admin(asked).existing()
    except ModelMoraError as error:
        return str(error)
    return "ready"


def _says(url: str, own: Own) -> str:
    try:
        return str(call("GET", url, timeout_s=ASK_S, own=own).get("status", "ready"))
    except ModelMoraError as error:
        return str(error)


@finds_instance
def logs(
    where: Instance,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="The newest so many lines.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the log of the instance, all its processes together."""
    named = where.run.log if where.run else where.settings.log.file
    path = Path(named) if named else log_file(where.settings.data_dir)
    coming = follow_log(path) if follow else iter(())
    if not path.exists():
        raise NotFound(f"there is no log at {path}; `modelmora serve` writes it")
    for line in last_lines(path, last):
        tell(line if json else readable(line))
    for line in coming:
        tell(line if json else readable(line))


def readable(line: str) -> str:
    """A line of the log for a person: local time, level, process, what happened."""
    try:
        row = orjson.loads(line)
        when = datetime.fromisoformat(row["timestamp"]).astimezone()
    except (ValueError, KeyError, TypeError):
        return printable(line)
    facts = facts_line({name: row[name] for name in row if name not in _SHOWN_FIRST})
    level, process, event = (str(row.get(name, "")) for name in ("level", "process", "event"))
    return f"{when:%m-%d %H:%M:%S} {level:<7} {process:<7} {event} {facts}".rstrip()
