"""Reads a list from a directory: the only place of the engines that touches the file system."""

from pathlib import Path
from typing import Final

from shared.screening.engines.watchlist.entries import Entry
from shared.screening.engines.watchlist.ofac import parse

SAMPLE: Final = Path(__file__).parent.parent / "lists" / "sample"


def load_directory(path: Path) -> tuple[Entry, ...]:
    """The entries of `sdn.csv`, `alt.csv` and `add.csv` in a directory.

    Raises FileNotFoundError for a missing file, MalformedListError for one that is not OFAC's format. Bytes that are
    no UTF-8 become replacement characters: a spoiled accent must not keep a whole list out.
    """
    sdn, alt, add = ((path / f"{file}.csv").read_text("utf-8", errors="replace") for file in ("sdn", "alt", "add"))
    return parse(sdn=sdn, alt=alt, add=add)


def load_sample() -> tuple[Entry, ...]:
    """The small list of invented people that comes with the project."""
    return load_directory(SAMPLE)
