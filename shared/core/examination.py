"""Examining an access log: whatever was done to its records afterwards is noticed."""

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from shared.core.audit import START, AccessRecord, Head, record_hash


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that shows that a log was tampered with, or lost a record."""

    writer: str
    number: int
    what: Literal[
        "changed",
        "doubled",
        "misplaced",
        "unreadable",
        "missing",
        "head_missing",
        "differs_from_head",
        "missing_at_anchor",
        "differs_from_anchor",
    ]


class Examination:
    """Looks for flaws in a whole log, whose records are shown to it in any order.

    It remembers the ends of what it has seen, where others may follow. So in the order of their ids, which is nearly
    that of their numbers, forwards or backwards, a log of any length takes no memory.
    """

    def __init__(self, heads: Iterable[Head], anchors: Iterable[Head]) -> None:
        """The log's own heads, and the anchors kept elsewhere.

        Both are to be read before the records: what is written meanwhile makes a chain longer, which is no flaw.
        """
        self._anchors = list(anchors)
        self._heads = {head.writer: head for head in sorted(heads, key=lambda head: head.number)}  # the newest
        self._chains: dict[str, _Chain] = {}
        pinned = (*self._anchors, *self._heads.values())
        self._pinned: dict[tuple[str, int], str | None] = {(one.writer, one.number): None for one in pinned}

    def see(self, record: AccessRecord) -> None:
        """Look at one record."""
        chain = self._chain(record.writer)
        if chain.add(record) and (record.writer, record.number) in self._pinned:
            self._pinned[record.writer, record.number] = record.hash

    def flaws(self) -> list[Flaw]:
        """What shows that some of the log was changed or removed, now that all records were seen."""
        found: list[Flaw] = []
        for writer in sorted(self._chains.keys() | self._heads.keys()):
            found += self._chain(writer).flaws() + self._at_head(writer)
        for anchor in self._anchors:
            kept = self._pinned[anchor.writer, anchor.number]
            if kept is None:
                found.append(Flaw(anchor.writer, anchor.number, "missing_at_anchor"))
            elif kept != anchor.hash:
                found.append(Flaw(anchor.writer, anchor.number, "differs_from_anchor"))
        return found

    def _chain(self, writer: str) -> "_Chain":
        if writer not in self._chains:
            self._chains[writer] = _Chain(writer)
        return self._chains[writer]

    def _at_head(self, writer: str) -> list[Flaw]:
        head, following = self._heads.get(writer), self._chain(writer).following
        if head is None:
            return [Flaw(writer, following - 1, "head_missing")]
        if head.number >= following:
            return [Flaw(writer, following, "missing")]
        if self._pinned[writer, head.number] not in (None, head.hash):
            return [Flaw(writer, head.number, "differs_from_head")]
        return []


@dataclass(slots=True)
class _Run:
    """Records that follow each other."""

    first: int
    last: int
    previous: str  # what the first links to
    hash: str  # of the last


class _Chain:
    """One writer's records, linked as they come: of those that follow each other, only the ends are kept."""

    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._runs = [_Run(0, 0, "", START)]  # ordered; the beginning is in place of a record 0
        self._flaws: dict[tuple[int, str], Flaw] = {}

    @property
    def following(self) -> int:
        """The number of the record that would come next."""
        return self._runs[-1].last + 1

    def add(self, record: AccessRecord) -> bool:
        """Whether it is the first of its number."""
        number = record.number
        at = bisect(self._runs, number, key=lambda run: run.first)
        if number < 1 or number <= self._runs[at - 1].last:
            self._flaw(number, "doubled" if number > 0 else "changed")
            return False
        if record.hash != record_hash(self._writer, number, record.previous_hash, record):
            self._flaw(number, "changed")
        self._runs.insert(at, _Run(number, number, record.previous_hash, record.hash))
        self._link(at + 1)
        self._link(at)
        return True

    def flaws(self) -> list[Flaw]:
        """All flaws, when no record is to come any more."""
        for before, _ in pairwise(self._runs):
            self._flaw(before.last + 1, "missing")  # and those up to the next run, whose link to it cannot be checked
        return sorted(self._flaws.values(), key=lambda flaw: flaw.number)

    def _link(self, at: int) -> None:
        """Make one run of this and the one before, if nothing is between them."""
        if at < len(self._runs) and (before := self._runs[at - 1]).last + 1 == (after := self._runs[at]).first:
            if after.previous != before.hash:
                self._flaw(after.first, "changed")
            self._runs[at - 1 : at + 1] = [_Run(before.first, after.last, before.previous, after.hash)]

    def _flaw(self, number: int, what: Literal["changed", "doubled", "missing"]) -> None:
        self._flaws[number, what] = Flaw(self._writer, number, what)
