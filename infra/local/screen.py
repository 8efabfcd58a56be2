"""How things look on a terminal: colour where there is one, columns, and how we are called."""

import os
import shlex
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TextIO

type Colour = Literal["bold", "dim", "red", "green", "yellow", "blue"]

_CODES: dict[Colour, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "36"}


class Screen:
    """Prints to a stream, line by line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.is_terminal = self._stream.isatty()
        self._coloured = self.is_terminal and not os.environ.get("NO_COLOR")  # no-color.org

    def paint(self, text: str, *colours: Colour) -> str:
        """`text` in colours, if this screen has them."""
        if not self._coloured or not colours:
            return text
        return f"\033[{';'.join(_CODES[colour] for colour in colours)}m{text}\033[0m"

    def line(self, text: str = "", *colours: Colour) -> None:
        """Print one line."""
        print(self.paint(text, *colours), file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.line()
        self.line(text, "bold")

    def passing(self, text: str) -> None:
        """Show something for the moment: the next line replaces it. Only on a terminal."""
        if self.is_terminal:
            print(f"\r\033[K{text}", end="", file=self._stream, flush=True)

    def erase(self) -> None:
        """Remove what was passing."""
        self.passing("")


def table(rows: Sequence[tuple[str, ...]], *, indent: int = 2) -> list[str]:
    """Rows as lines with aligned columns; the last column is not padded."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        " " * indent
        + "  ".join(cell + " " * (most - _width(cell)) for cell, most in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Columns that `text` takes: East Asian letters two, combining marks none (Unicode Standard Annex 11)."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def program() -> str:
    """`python -m infra.local` as one would type it here."""
    inside = Path(sys.executable).is_relative_to(Path.cwd())
    return f"{shlex.quote(os.path.relpath(sys.executable) if inside else sys.executable)} -m infra.local"
