"""What `serve` shows a person: phases while it starts, where all is once it runs, its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog

from modelmora.host.runfile import RunInfo
from modelmora.settings import Settings
from modelmora.text import duration, printable

log = structlog.get_logger(__name__)
WIDTH = 78
DONE = "✓"
BUSY = "…"
SLOW = {
    "broker": "Kafka starts",
    "node": "it imports the model libraries, then joins its group",
    "gateway": "it reads which models there are",
}
"""What takes time while a part starts."""


class Face:
    """Shows on standard error; a terminal that is gone is no reason to stop."""

    def phase(self, name: str, took_s: float) -> None:
        """A part is ready."""
        self._show(f"{DONE} {name:<8} {duration(1000 * took_s)}")

    def slow(self, names: Sequence[str], since_s: float) -> None:
        """What is still starting."""
        told = "; ".join(f"{name}: {SLOW.get(name, 'it starts')}" for name in names)
        self._show(f"{BUSY} {told} ({duration(1000 * since_s)})")

    def away(self, servers: str, since_s: float) -> None:
        """The cluster that was named does not answer."""
        self._show(f"{BUSY} no broker answers at {servers} yet ({duration(1000 * since_s)})")

    def preparing(self, done: int, total: int) -> None:
        """Kafka's files are fetched, once on a machine."""
        if done % 10 == 0 or done == total:
            self._show(f"{BUSY} preparing Kafka, once only: {done} of {total}")

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        """All parts are."""
        self._show(*box(settings, info, models, ("status",)))

    def stopping(self, reason: str, stop_s: float) -> None:
        """It was told to stop."""
        self._show(
            f"stopping ({reason}): started work may finish, for up to {duration(1000 * stop_s)}; "
            "again hurries"
        )

    def hurried(self) -> None:
        """It was told to stop a second time."""
        self._show("stopping at once")

    def stopped(self, name: str, took_s: float) -> None:
        """A part has ended."""
        self._show(f"{DONE} {name} stopped, {duration(1000 * took_s)}")

    def ended(self, folder: Path) -> None:
        """Nothing runs any more."""
        self._show(f"stopped; models, topics and logs stay in {folder}")

    def _show(self, *lines: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("\n".join(map(printable, lines)) + "\n")
            sys.stderr.flush()


class Logged(Face):
    """Tells the same in the log, where that is JSON: in a pod, under systemd, into a file."""

    def phase(self, name: str, took_s: float) -> None:
        """A part is ready."""
        log.info("part ready", part=name, after_ms=round(1000 * took_s))

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        """All parts are."""
        log.info(
            "ready",
            rest=info.http,
            grpc=info.grpc,
            kafka=info.bootstrap_servers,
            namespace=info.namespace,
            node=info.node_http,
            data_dir=str(settings.data_dir),
            models={f"{each['name']}@{each['version']}": each["state"] for each in models},
        )

    def stopped(self, name: str, took_s: float) -> None:
        """A part has ended."""
        log.info("part stopped", part=name, took_ms=round(1000 * took_s))

    def _show(self, *lines: str) -> None:
        for line in lines:
            log.info(line.removeprefix(f"{BUSY} "))


class Silent(Face):
    """Shows nothing."""

    def _show(self, *lines: str) -> None:
        pass


SILENT = Silent()


class Starter(Face):
    """Shows an instance that goes on in the background."""

    def ready(self, settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]]) -> None:
        """All parts are."""
        self._show(*box(settings, info, models, ("logs -f", "stop")))


def box(
    settings: Settings, info: RunInfo, models: Sequence[Mapping[str, Any]], verbs: Sequence[str]
) -> Iterator[str]:
    """Where all is, and verbs to try, between two rules. Nothing is broken: it is to be pasted."""
    yield "─" * WIDTH
    yield f"ModelMora {metadata.version('modelmora')} is ready."
    yield ""
    rows = {
        "REST": info.http and f"{info.http}  (/docs shows it)",
        "gRPC": info.grpc,
        "Kafka": f"{info.bootstrap_servers}  namespace {info.namespace}",
        "node": info.node_http,
        "data": str(settings.data_dir),
    }
    yield from (f"{name:<6} {row}" for name, row in rows.items() if row)
    yield from model_lines(models)
    yield ""
    typed = own_command()
    where = "" if settings.data_dir == Path(".modelmora").absolute() else _data_dir(settings)
    served = next((model["name"] for model in models if model["state"] != "failed"), None)
    if info.http and served:
        yield f'{typed} infer {served} "Hello, Kafka"{where}'
    yield from (f"{typed} {verb}{where}" for verb in verbs)
    yield "─" * WIDTH


def model_lines(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each model with its state, and why it failed."""
    for number, model in enumerate(models):
        name = f"{model['name']}@{model['version']}"
        reason = model.get("reason")
        told = f"{model['state']}: {reason}" if reason else model["state"]
        yield f"{'models' if number == 0 else '':<6} {name}  {told}"


def _data_dir(settings: Settings) -> str:
    return f" --data-dir {shlex.quote(str(settings.data_dir))}"


def own_command() -> str:
    """How this command is called from here: by its name, else by its path."""
    beside = Path(sys.executable).parent / "modelmora"
    if shutil.which("modelmora") or not beside.exists():
        return "modelmora"
    relative = os.path.relpath(beside)
    return shlex.quote(str(beside) if relative.startswith("..") else relative)
