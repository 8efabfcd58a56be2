"""Screening of names against sanctions lists in the CSV format of the US Office of Foreign Assets Control (OFAC)."""

from shared.screening.engines.watchlist.engine import WatchlistEngine
from shared.screening.engines.watchlist.entries import Alias, BirthDate, Entry
from shared.screening.engines.watchlist.files import load_directory, load_sample
from shared.screening.engines.watchlist.index import NameHit, WatchlistIndex
from shared.screening.engines.watchlist.ofac import MalformedListError, parse

__all__ = [
    "Alias",
    "BirthDate",
    "Entry",
    "MalformedListError",
    "NameHit",
    "WatchlistEngine",
    "WatchlistIndex",
    "load_directory",
    "load_sample",
    "parse",
]
