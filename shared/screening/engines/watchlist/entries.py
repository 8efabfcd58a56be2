"""A watchlist as plain data, whatever format it came in."""

from datetime import date
from typing import Literal

import msgspec

from shared.screening.engines.base import Gender

type Kind = Literal["individual", "entity", "vessel", "aircraft"]


class Alias(msgspec.Struct, frozen=True):
    """Another name of an entry. Weak ones are common or generic ("the doctor"); OFAC does not require their search."""

    name: str
    weak: bool


class BirthDate(msgspec.Struct, frozen=True):
    """The days on which an entry may have been born: one for a full date, a month, a year, or any stated range."""

    earliest: date
    latest: date

    @property
    def exact(self) -> bool:
        """Whether the day itself is known."""
        return self.earliest == self.latest

    @property
    def whole_years(self) -> bool:
        """Whether no more than one or several years are known."""
        first, last = self.earliest, self.latest
        return (first.month, first.day, last.month, last.day) == (1, 1, 12, 31)

    def admits(self, day: date) -> bool:
        """Whether somebody born on `day` can be meant."""
        return self.earliest <= day <= self.latest

    def admits_year(self, day: date) -> bool:
        """Whether somebody born in the year of `day` can be meant."""
        return self.earliest.year <= day.year <= self.latest.year


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One listed party. `countries` are all it is tied to: nationality, citizenship, birth, address."""

    entry_id: str
    kind: Kind
    name: str
    aliases: tuple[Alias, ...] = ()
    programs: tuple[str, ...] = ()
    birth_dates: tuple[BirthDate, ...] = ()
    countries: frozenset[str] = frozenset()
    gender: Gender | None = None
