"""Encloses the process that calls it, layer by layer, and says which layers the kernel lacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import modelmora
from modelmora.errors import ModelMoraError
from modelmora.sandbox import kernel, landlock, seccomp

OPEN_FILES = 4096
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
    # Others' secrets are not in reach there: Landlock refuses what ptrace may not see.
    "/proc", "/sys/devices/system",
    "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
)  # fmt: skip
_GPU = ("/sys", "/etc/nvidia")
_MOST_FILES = 10_000


class Mode(StrEnum):
    """How much is asked for."""

    REQUIRED = "required"
    """No model is loaded where a layer is missing."""
    BEST_EFFORT = "best-effort"
    """What the kernel has."""
    OFF = "off"


MODES = tuple(mode.value for mode in Mode)


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Which layers hold, and which do not; both empty where none was asked for."""

    layers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.layers and not self.missing:
            return "off"
        lacks = f" without {', '.join(self.missing)}" if self.missing else ""
        return (", ".join(self.layers) or "none") + lacks


class Unenclosed(ModelMoraError):
    """A layer that is required is missing."""


def missing_layers() -> tuple[str, ...]:
    """What `enclose` would lack on this machine, without enclosing anything."""
    lacks = {"landlock": not landlock.version(), "seccomp": not seccomp.is_there()}
    return tuple(name for name, missing in lacks.items() if missing)


def enclose(
    mode: Mode, folder: Path | None, *, beside: Iterable[Path | None] = (), devices: bool = False
) -> Enclosure:
    """Give up, for ever, all that computing the model in `folder` does not need.

    No file is open to it but the model's, the libraries' and what the system says of itself (and
    what belongs to the model and lies elsewhere, `beside`); nothing can be written; no program
    started, no network reached, no other process signalled or looked into. `devices` leaves the
    GPUs open. To be called while the process has one thread, since Landlock binds only the thread
    that asks and those it starts. Raises Unenclosed where the mode is `required` and a layer is
    missing.
    """
    if mode is Mode.OFF:
        return Enclosure()
    steps: Mapping[str, Callable[[], None]] = {
        "limits": _limit,
        "landlock": lambda: _open_only([folder, *beside], devices=devices),
        "seccomp": seccomp.restrict,
    }
    held, missing = [], []
    for name, step in steps.items():
        try:
            step()
            held.append(name)
        except (OSError, KeyError, ImportError):
            missing.append(name)
    if missing and mode is Mode.REQUIRED:
        raise Unenclosed(
            f"this machine cannot enclose a model's process: no {', no '.join(missing)}; "
            "`sandbox: best-effort` loads models all the same"
        )
    return Enclosure(tuple(held), tuple(missing))


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kernel.give_up_privileges()


def _open_only(folders: Iterable[Path | None], *, devices: bool) -> None:
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        raise OSError("more than one thread")
    gpus = list(Path("/dev").glob("nvidia*")) if devices else []
    landlock.restrict(readable(folders, devices=devices), gpus)


def readable(folders: Iterable[Path | None], *, devices: bool = False) -> Iterator[Path]:
    """What may be read: the system's libraries, Python's, ours, and the model's files."""
    yield from map(Path, _SYSTEM)
    if devices:
        yield from map(Path, _GPU)
    yield from map(Path, (sys.prefix, sys.base_prefix))
    ours = Path(modelmora.__file__).parent
    yield from (ours, *(ours.parent / part for part in ("agents", "schemas")))
    # Not the whole tree that we may run from: it holds the data folder as a rule.
    tree = None if [*ours.parent.glob("modelmora-*.dist-info")] else ours.parent
    yield from (Path(entry) for entry in sys.path if entry and Path(entry) != tree)
    yield from (Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry)
    for folder in folders:
        yield from _model(folder) if folder else ()


def _model(folder: Path) -> Iterator[Path]:
    """A model's folder, and the files that links in it lead to, as in the hub's cache."""
    yield folder
    for number, path in enumerate(folder.rglob("*") if folder.is_dir() else ()):
        if number == _MOST_FILES:
            return
        if path.is_symlink():
            yield path.resolve()
