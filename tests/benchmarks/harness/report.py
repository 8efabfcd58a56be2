"""What a benchmark reports: figures with their goals, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be. `most` and `least` bound a number; `exactly` is for what is no number."""

    key: str
    text: str
    most: float | None = None
    least: float | None = None
    exactly: Any = None

    def met(self, value: Any) -> bool:
        """Whether `value` is as it should be."""
        if self.exactly is not None:
            return bool(value == self.exactly)
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        if self.exactly is not None:
            return show(self.exactly)
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"


def table(goals: Sequence[Goal], figures: dict[str, Any]) -> str:
    """One line a figure: what it is, key, goal, value, and whether the goal is met."""
    rows = [("figure", "key", "goal", "value", "met")]
    for goal in goals:
        value = figures[goal.key]
        rows.append((goal.text, goal.key, str(goal), show(value), "yes" if goal.met(value) else "NO"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def write(path: Path, figures: dict[str, Any]) -> None:
    """The figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")


def show(value: Any) -> str:
    """A figure as text."""
    if isinstance(value, dict):
        return "/".join(show(one) for one in value.values())
    if isinstance(value, list):
        return "".join(f"\n  {show(one)}" for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
