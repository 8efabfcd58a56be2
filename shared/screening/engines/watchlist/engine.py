"""The watchlist screening: potential matches for a person to look at, never a verdict.

A likeness of names is no proof of identity, so that no hit ends in `consider` (15 U.S.C. 1681e(b), maximum possible
accuracy; GDPR Art. 22, no solely automated rejection). A hit is `needs_review`, none is `clear`.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

from shared.screening.engines.base import EngineResult, Finding, PotentialMatch, Subject
from shared.screening.engines.watchlist.countries import country_codes
from shared.screening.engines.watchlist.entries import Entry
from shared.screening.engines.watchlist.index import NameHit, WatchlistIndex
from shared.screening.engines.watchlist.scoring import weigh_evidence

# How alike the names must be. With the very same day of birth, which one in some 20,000 shares by chance, less will do.
NAME_THRESHOLD: Final = 0.85
NAME_THRESHOLD_SAME_DAY: Final = 0.65

# What must remain of the score once disagreeing evidence is taken off, unless the day of birth is the same. An exact
# name survives one contradiction (another year, another country), and no two.
MATCH_THRESHOLD: Final = 0.7


class WatchlistEngine:
    """Screens persons against the individuals of one list."""

    name = "watchlist"

    def __init__(self, entries: Iterable[Entry], *, list_name: str, list_version: str) -> None:
        """`list_name` and `list_version` (such as its publication date) tell in results what was screened against."""
        self._index = WatchlistIndex(entries)
        self._list_name = list_name
        self.version = f"1/{list_name}/{list_version}"

    def run(self, subject: Subject, today: date) -> EngineResult:  # noqa: ARG002 - the contract of engines; lists are dateless
        """Potential matches of any of the subject's names, the likest first."""
        matches = self.matches(subject)
        return EngineResult(
            outcome="needs_review" if matches else "clear",
            findings=tuple(
                Finding(code="watchlist_potential_match", text="A listed person has a similar name.", match=match)
                for match in matches
            ),
        )

    def matches(self, subject: Subject) -> list[PotentialMatch]:
        """At most one potential match per entry of the list."""
        least = NAME_THRESHOLD_SAME_DAY if subject.date_of_birth else NAME_THRESHOLD
        hits: dict[str, NameHit] = {}
        for name in _names(subject):
            for hit in self._index.search(name, least=least):
                entry_id = hit.name.entry.entry_id
                if entry_id not in hits or hit.score > hits[entry_id].score:
                    hits[entry_id] = hit
        countries = frozenset[str]().union(*map(country_codes, subject.countries))
        found = [match for hit in hits.values() if (match := self._match(subject, countries, hit)) is not None]
        return sorted(found, key=lambda match: (-match.score, match.entry_id))

    def _match(self, subject: Subject, countries: frozenset[str], hit: NameHit) -> PotentialMatch | None:
        entry = hit.name.entry
        evidence = weigh_evidence(subject, countries, entry)
        score = round(hit.score - evidence.penalty, 4)
        if not evidence.same_day and (hit.score < NAME_THRESHOLD or score < MATCH_THRESHOLD):
            return None
        return PotentialMatch(
            list_name=self._list_name,
            entry_id=entry.entry_id,
            matched_name=hit.name.text,
            primary_name=entry.name,
            programs=entry.programs,
            score=score,
            name_score=round(hit.score, 4),
            weak_alias=hit.name.weak,
            agrees=evidence.agrees,
            disagrees=evidence.disagrees,
        )


def _names(subject: Subject) -> list[str]:
    """The full name, the name without its middle part, and the other names: each is searched for by itself."""
    full = f"{subject.given_name} {subject.middle_name} {subject.family_name}"
    short = f"{subject.given_name} {subject.family_name}"
    return list(dict.fromkeys(" ".join(name.split()) for name in (full, short, *subject.other_names)))
