"""Measured figures: what they are compared with, whether they reach their goal, how they print."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure; `at_least` or at most."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"

    def reached(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, with a goal or only to be known.

    `baseline` is what it was divided by or compared with, in the same run.
    """

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    baseline: float | None = None
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        """Whether it has a goal and does not reach it."""
        return self.goal is not None and not self.goal.reached(self.value)

    def as_json(self) -> dict[str, Any]:
        """The figure as it stands in bench.json."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "baseline": None if self.baseline is None else round(self.baseline, 4),
            "goal": str(self.goal) if self.goal else None,
            "reached": not self.missed if self.goal else None,
            "beside": {name: round(value, 4) for name, value in self.beside.items()},
        }


def at_least(bound: float) -> Goal:
    """A goal from below."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """A goal from above."""
    return Goal(bound, at_least=False)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def show(figures: Iterable[Figure], console: Console) -> None:
    """The table for people."""
    table = Table(box=None, pad_edge=False)
    for title in ("figure", "value", "goal", "", "beside"):
        justify: Literal["right", "left"] = "right" if title in ("value", "goal") else "left"
        table.add_column(title, justify=justify, no_wrap=title == "figure")
    for figure in figures:
        reached = "[red]missed[/]" if figure.missed else "[green]ok[/]"
        table.add_row(
            figure.name,
            f"{figure.value:.3g}",
            str(figure.goal or ""),
            reached if figure.goal else "",
            "  ".join(f"{name} {value:.4g}" for name, value in figure.beside.items()),
        )
    console.print(table)


def write(figures: Iterable[Figure], path: Path) -> None:
    """bench.json."""
    content = {"machine": machine(), "results": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(content, indent=2) + "\n")
