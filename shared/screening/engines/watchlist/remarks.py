"""The remarks of an OFAC entry: `DOB 14 Jun 1975; alt. DOB circa 1974; nationality Russia; Gender Male; ...`.

Parts that are unknown or cut off (the field ends after 1,000 characters) are passed over.
"""

import re
from calendar import monthrange
from datetime import date
from typing import Final

import msgspec

from shared.screening.engines.base import Gender
from shared.screening.engines.watchlist.countries import country_codes
from shared.screening.engines.watchlist.entries import BirthDate

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_MOMENT: Final = r"(?:(?:(\d{1,2}) )?([A-Z][a-z]{2}) )?(\d{4})"
_DOB: Final = re.compile(rf"(?:alt\. )?DOB (circa )?{_MOMENT}(?:(?: to |-){_MOMENT})?$")
_COUNTRY: Final = re.compile(r"(?:alt\. )?(?:nationality|citizen):? (.+)$")
_BIRTHPLACE: Final = re.compile(r"(?:alt\. )?POB (?:.*, )?(.+)$")
_GENDER: Final[dict[str, Gender]] = {"Gender Male": "male", "Gender Female": "female"}
_WEAK_ALIAS: Final = re.compile(r"(?:a|f|n)\.k\.a\. '(.+)'$")

# "circa 1960" is taken as two years either way: neighbouring estimates of one person on the list differ by that much.
_CIRCA_YEARS: Final = 2


class Remarks(msgspec.Struct, frozen=True, kw_only=True):
    """What the remarks say about a person."""

    birth_dates: tuple[BirthDate, ...]
    countries: frozenset[str]
    gender: Gender | None
    weak_aliases: tuple[str, ...]


def read_remarks(text: str) -> Remarks:
    """Read the remarks of one entry."""
    birth_dates: list[BirthDate] = []
    countries: set[str] = set()
    genders: set[Gender] = set()
    weak_aliases: list[str] = []
    for part in (part.strip() for part in text.removesuffix(".").split(";")):
        if match := _DOB.match(part):
            born = _birth_date(*match.groups())
            if born is not None:
                birth_dates.append(born)
        elif match := _COUNTRY.match(part) or _BIRTHPLACE.match(part):
            countries.update(country_codes(match[1]))
        elif part in _GENDER:
            genders.add(_GENDER[part])
        elif match := _WEAK_ALIAS.match(part):
            weak_aliases.append(match[1])
    return Remarks(
        birth_dates=tuple(birth_dates),
        countries=frozenset(countries),
        gender=genders.pop() if len(genders) == 1 else None,
        weak_aliases=tuple(weak_aliases),
    )


def _birth_date(circa: str | None, *moments: str | None) -> BirthDate | None:
    """The range of a `DOB` part; None for a day that no calendar has."""
    day, month, year, last_day, last_month, last_year = moments
    try:
        earliest, latest = _span(day, month, year)
        if last_year is not None:
            latest = _span(last_day, last_month, last_year)[1]
        if circa:
            earliest = date(earliest.year - _CIRCA_YEARS, 1, 1)
            latest = date(latest.year + _CIRCA_YEARS, 12, 31)
    except (KeyError, ValueError):
        return None
    return BirthDate(earliest, latest) if earliest <= latest else None


def _span(day: str | None, month: str | None, year: str | None) -> tuple[date, date]:
    known_year = int(year or 0)
    if month is None:
        return date(known_year, 1, 1), date(known_year, 12, 31)
    known_month = _MONTHS[month]
    if day is None:
        last = monthrange(known_year, known_month)[1]
        return date(known_year, known_month, 1), date(known_year, known_month, last)
    exact = date(known_year, known_month, int(day))
    return exact, exact
