"""Examining a whole access log at once."""

from collections.abc import Iterable

from shared.core.audit import AccessRecord, Head
from shared.core.examination import Examination, Flaw


def verify(records: Iterable[AccessRecord], heads: Iterable[Head], anchors: Iterable[Head]) -> list[Flaw]:
    """The flaws of a log of these records, heads and anchors."""
    examination = Examination(heads, anchors)
    for record in records:
        examination.see(record)
    return examination.flaws()
