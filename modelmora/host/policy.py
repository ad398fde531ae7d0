"""What to do when a part of the machine has ended: pure decisions, no process is touched here."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 5.0
DEATHS_TO_GIVE_UP = 10
CONFIGURATION = 2
UNREACHABLE = 4


@dataclass(frozen=True, slots=True)
class Exit:
    """How one run of a part ended; `code` is negative for a signal."""

    code: int
    ready: bool
    lived_s: float


@dataclass(frozen=True, slots=True)
class History:
    """What counts of a part's former runs."""

    ever_ready: bool = False
    deaths_unready: int = 0
    deaths_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after a pause."""

    after_s: float


@dataclass(frozen=True, slots=True)
class PassOn:
    """Stop everything and exit with its code: it has said why it cannot start."""

    code: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop everything: it will not start."""

    deaths: int


Decision = Restart | PassOn | GiveUp


def after_exit(history: History, exit_: Exit, *, own_broker: bool) -> tuple[History, Decision]:
    """Decide what follows the end of a part that was not asked to stop.

    1. It never was ready and says that the configuration is at fault (2), or that the broker
       cannot be reached (4) where the broker is not ours to restart: pass its exit code on.
    2. It has now died DEATHS_TO_GIVE_UP times in a row without having been ready: give up.
    3. Else restart, after 0.1 s doubled with each death in a row up to 5 s. A run that was
       ready and lived STEADY_S ends the row.
    """
    steady = exit_.ready and exit_.lived_s >= STEADY_S
    now = History(
        ever_ready=history.ever_ready or exit_.ready,
        deaths_unready=0 if exit_.ready else history.deaths_unready + 1,
        deaths_in_a_row=1 if steady else history.deaths_in_a_row + 1,
    )
    telling = {CONFIGURATION} if own_broker else {CONFIGURATION, UNREACHABLE}
    if not now.ever_ready and exit_.code in telling:
        return now, PassOn(exit_.code)
    if now.deaths_unready >= DEATHS_TO_GIVE_UP:
        return now, GiveUp(now.deaths_unready)
    # The exponent is capped too: 2**1100 is no float.
    pause = FIRST_PAUSE_S * 2 ** min(now.deaths_in_a_row - 1, 10)
    return now, Restart(min(pause, LONGEST_PAUSE_S))
