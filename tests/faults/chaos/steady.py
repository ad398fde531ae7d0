"""Memory, descriptors and threads of processes while faults run, and whether they stay flat."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression
from types import TracebackType
from typing import Any, NamedTuple, Self

INTERVAL_S = 2.0
ENDS = 10
WARM_UP = 0.5
"""What of a run is not compared: caches fill, and each kind of fault comes for the first time, with
which clients are opened that stay for the next."""
KB_MORE, KB_SHARE = 8192, 0.1
FDS_MORE = 4
FDS_OF_CHILD = 2
"""Its pidfd and its socket: how many children there are is what was asked last."""
THREADS_MORE = 2


class Held(NamedTuple):
    """What a process holds: private memory in kB, threads, what is open but for its children."""

    at: float
    anonymous_kb: int
    fds: int
    threads: int
    kinds: Counter[str]
    """How many of each kind these are: threads by name, descriptors by what they are of."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The second half of a run beside its first; flat by `is_flat`.

    Of memory the most of both, for it rises and falls with the partitions that a node has; of
    descriptors and threads the least of ten samples at its begin, and of the last ten.
    `slope_kb_min` is that of the memory in kB a minute.
    """

    samples: int
    kb: tuple[int, int]
    fds: tuple[int, int]
    threads: tuple[int, int]
    slope_kb_min: float
    course: tuple[tuple[int, int, int], ...]
    """Memory in kB, descriptors and threads at every tenth sample."""
    more: Mapping[str, int]
    """Of which kinds of threads and descriptors there are more at the end."""

    @property
    def is_flat(self) -> bool:
        """Memory grew by a tenth or 8 MB at most, descriptors by 4, threads by 2."""
        kb = self.kb[1] - self.kb[0] <= max(KB_MORE, KB_SHARE * self.kb[0])
        fds = self.fds[1] - self.fds[0] <= FDS_MORE
        return kb and fds and self.threads[1] - self.threads[0] <= THREADS_MORE

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "is_flat": self.is_flat}


def kept(samples: Sequence[Held]) -> Kept | None:
    """Compare the ends; None where there are too few samples for that."""
    before, warm = samples[: int(len(samples) * WARM_UP)], samples[int(len(samples) * WARM_UP) :]
    if len(warm) < 2 * ENDS:
        return None
    first, last = warm[:ENDS], warm[-ENDS:]
    slope = linear_regression(
        [each.at for each in warm], [each.anonymous_kb for each in warm]
    ).slope
    return Kept(
        len(samples),
        (max(each.anonymous_kb for each in before), max(each.anonymous_kb for each in warm)),
        (min(each.fds for each in first), min(each.fds for each in last)),
        (min(each.threads for each in first), min(each.threads for each in last)),
        round(slope * 60, 1),
        tuple((each.anonymous_kb, each.fds, each.threads) for each in samples[::10]),
        dict(_least(last) - _least(first)),
    )


def _least(samples: Sequence[Held]) -> Counter[str]:
    least = samples[0].kinds
    for each in samples:
        least &= each.kinds
    return least


def _targets(folder: Path) -> Iterator[str]:
    for each in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(each.readlink())


def look(pid: int) -> Held | None:
    """What it holds now; None where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fds = [*_targets(Path(f"/proc/{pid}/fd"))]
        names = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/comm")]
    except OSError:
        return None
    told = {name: text.split() for name, _, text in (line.partition(":") for line in lines)}
    if "RssAnon" not in told:
        return None
    kinds = Counter(re.sub(r"\d+", "#", each.strip()) for each in (*fds, *names))
    open_fds = len(fds) - FDS_OF_CHILD * kinds["anon_inode:[pidfd]"]
    return Held(time.monotonic(), int(told["RssAnon"][0]), open_fds, len(names), kinds)


class Steady:
    """A context manager that samples the processes that `who` names, in a thread."""

    def __init__(self, who: Callable[[], Mapping[str, int | None]]) -> None:
        self._who = who
        self._held: dict[tuple[str, int], list[Held]] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady", daemon=True)
        self._first: set[tuple[str, int]] = set()

    def survivors(self) -> dict[str, Kept]:
        """Of every process that was there from the first sample to the last."""
        now = {(name, pid) for name, pid in self._who().items() if pid}
        found = {name: kept(self._held[name, pid]) for name, pid in sorted(self._first & now)}
        return {name: one for name, one in found.items() if one}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(INTERVAL_S):
            for name, pid in self._who().items():
                if pid and (seen := look(pid)):
                    self._held.setdefault((name, pid), []).append(seen)
            self._first = self._first or set(self._held)
