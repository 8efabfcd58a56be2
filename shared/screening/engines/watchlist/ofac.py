"""OFAC's list of Specially Designated Nationals in its CSV form: texts of three files in, entries out.

The layout is that of OFAC's "Data Specification" (first released 2004, updated 2023): no header, `-0- ` for null, and
    sdn.csv  ent_num, SDN_Name, SDN_Type, Program, Title, Call_Sign, Vess_type, Tonnage, GRT, Vess_flag, Vess_owner,
             Remarks
    alt.csv  ent_num, alt_num, alt_type (aka, fka, nka), alt_name, alt_remarks
    add.csv  ent_num, Add_num, Address, City/State/Postal, Country, Add_remarks
Everything else about a person stands in the remarks, parts separated by semicolons, weak aliases among them.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from shared.screening.engines.watchlist.countries import country_codes
from shared.screening.engines.watchlist.entries import Alias, Entry, Kind
from shared.screening.engines.watchlist.remarks import read_remarks

_NULL: Final = "-0-"
_END_OF_FILE: Final = "\x1a"  # DOS end-of-file mark that OFAC's files have ended with
_KINDS: Final[dict[str, Kind]] = {"": "entity", "individual": "individual", "vessel": "vessel", "aircraft": "aircraft"}


class MalformedListError(ValueError):
    """A file is not what OFAC publishes. A list that is read in part would let people through, so none is read."""


def parse(*, sdn: str, alt: str, add: str) -> tuple[Entry, ...]:
    """All entries of a list, in its order, from the texts of its three files.

    Raises MalformedListError when a row has another shape, a type is unknown, a row of aliases or addresses belongs
    to no entry, an entry appears twice, or there is none at all.
    """
    rows: dict[str, list[str]] = {}
    for row in _rows(sdn, "sdn.csv", columns=12):
        if rows.setdefault(row[0], row) is not row:
            raise MalformedListError(f"sdn.csv: entry {row[0]} appears twice")
    if not rows:
        raise MalformedListError("sdn.csv has no entries")
    aliases: defaultdict[str, list[Alias]] = defaultdict(list)
    for row in _rows(alt, "alt.csv", columns=5):
        aliases[_owner(row, rows, "alt.csv")].append(Alias(row[3], weak=False))
    countries: defaultdict[str, set[str]] = defaultdict(set)
    for row in _rows(add, "add.csv", columns=6):
        countries[_owner(row, rows, "add.csv")].update(country_codes(row[4]))
    return tuple(_entry(row, aliases[entry_id], countries[entry_id]) for entry_id, row in rows.items())


def _rows(text: str, file: str, *, columns: int) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text.rstrip(_END_OF_FILE), newline=""), strict=True)
    try:
        for row in reader:
            if not row or row == [_END_OF_FILE]:
                continue
            if len(row) != columns:
                raise MalformedListError(f"{file}, line {reader.line_num}: {len(row)} columns, not {columns}")
            yield ["" if value.strip() == _NULL else value.strip() for value in row]
    except csv.Error as error:
        raise MalformedListError(f"{file}, line {reader.line_num}: {error}") from error


def _owner(row: list[str], rows: dict[str, list[str]], file: str) -> str:
    if row[0] not in rows:
        raise MalformedListError(f"{file}: row {row[1]} belongs to no entry of sdn.csv")
    return row[0]


def _entry(row: list[str], aliases: list[Alias], countries: set[str]) -> Entry:
    kind = _KINDS.get(row[2].lower())
    if kind is None:
        raise MalformedListError(f"sdn.csv: entry {row[0]} is of an unknown type")
    remarks = read_remarks(row[11])
    return Entry(
        entry_id=row[0],
        kind=kind,
        name=row[1],
        aliases=(*aliases, *(Alias(name, weak=True) for name in remarks.weak_aliases)),
        programs=tuple(row[3].split("] [")) if row[3] else (),
        birth_dates=remarks.birth_dates,
        countries=frozenset(countries) | remarks.countries,
        gender=remarks.gender,
    )
