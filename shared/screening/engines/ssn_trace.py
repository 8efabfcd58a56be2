"""What the digits of a Social Security number say by themselves; nothing is looked up.

The engine never claims that a number belongs to somebody, that its holder is dead or where the holder lived. It says
whether the Social Security Administration (SSA) can have issued such a number, and whether it can have issued it
to a person of this date of birth. The number itself never leaves here: no text or error contains a digit of it.

- `consider`: SSA never issued the number to anyone, or withdrew it after it had been printed for all to see.
- `needs_review`: the number is possible but looks like a placeholder, does not go with the date of birth, or is absent.
- `clear`: nothing speaks against it. For numbers issued since 25 June 2011 no more can be said.
"""

from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from shared.screening.engines.base import (
    MISSING_REQUIRED_INFORMATION,
    EngineResult,
    Finding,
    Outcome,
    Subject,
)
from shared.screening.engines.high_groups import RANDOMIZED_ON, issued_before_randomization

# Numbers that were printed as samples. 078-05-1120 came with wallets sold from 1938 on and was voided by SSA;
# 219-09-9999 stood in a pamphlet of 1940 (both: SSA, "Social Security Cards Issued by Woolworth",
# ssa.gov/history/ssn/misused.html). 987-65-4320 to 4329 are set aside for advertisements.
_ADVERTISED: Final = frozenset({"078051120", "219099999", *(f"98765432{last}" for last in range(10))})

# Areas 700 to 728 were given to railroad workers; SSA issued none of them after this date (ssa.gov/employer/
# stateweb.htm). What randomization may have added since lies in groups that had not been reached.
_RAILROAD_AREAS: Final = range(700, 729)
_RAILROAD_DISCONTINUED_ON: Final = date(1963, 7, 1)

_IMPOSSIBLE: Final = {
    "ssn_malformed": "The number does not have nine digits.",
    "ssn_advertised": "The number was printed as a sample and is void.",
    "ssn_area_never_issued": "Area 000, 666 and 900 to 999 are never issued.",
    "ssn_group_never_issued": "Group 00 is never issued.",
    "ssn_serial_never_issued": "Serial 0000 is never issued.",
}
_DOUBTFUL: Final = {
    MISSING_REQUIRED_INFORMATION: "No Social Security number was given.",
    "ssn_repeated_digit": "All nine digits are the same.",
    "ssn_sequence": "The digits run up or down one by one.",
    "date_of_birth_in_future": "The date of birth has not come yet.",
    "ssn_issued_before_birth": "Numbers of this area and group were issued before the date of birth.",
}
_REMARKS: Final = {
    "ssn_issued_before_randomization": "Numbers of this area and group were issued before 25 June 2011.",
    "ssn_issued_after_randomization": "The number was issued on or after 25 June 2011, which allows no inference.",
    "ssn_issue_undetermined": "Numbers of this area and group were being issued in June 2011; no inference.",
}
_TEXTS: Final = _IMPOSSIBLE | _DOUBTFUL | _REMARKS


class SsnTrace(msgspec.Struct, frozen=True):
    """The engine. It holds no state; one instance serves all."""

    name: str = "ssn_trace"
    version: str = "1"

    def run(self, subject: Subject, today: date) -> EngineResult:
        """Judge the subject's number, also against the date of birth where there is one."""
        codes = _examine(subject.ssn or "", subject.date_of_birth, today)
        return EngineResult(
            outcome=_outcome(codes),
            findings=tuple(Finding(code=code, text=_TEXTS[code]) for code in codes),
        )


def _examine(ssn: str, born: date | None, today: date) -> list[str]:
    if not ssn.strip():
        return [MISSING_REQUIRED_INFORMATION]
    digits = _digits(ssn)
    if digits is None:
        return ["ssn_malformed"]
    codes = _never_issued(digits) + _placeholder(digits)
    if born is not None and born > today:
        codes.append("date_of_birth_in_future")
    if not any(code in _IMPOSSIBLE for code in codes):
        codes += _issue(area=int(digits[:3]), group=int(digits[3:5]), born=born)
    return codes


def _digits(ssn: str) -> str | None:
    """The nine digits of `AAA-GG-SSSS`, `AAA GG SSSS` or `AAAGGSSSS`; None of anything else."""
    text = ssn.strip()
    if len(text) == 11 and text[3] == text[6] and text[3] in "- ":
        text = text[:3] + text[4:6] + text[7:]
    return text if len(text) == 9 and text.isascii() and text.isdigit() else None


def _never_issued(digits: str) -> list[str]:
    """SSA's Program Operations Manual, RM 10201.035 "Invalid Social Security Numbers", and the printed samples."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    codes = []
    if digits in _ADVERTISED:
        codes.append("ssn_advertised")
    if area in {"000", "666"} or area[0] == "9":
        codes.append("ssn_area_never_issued")
    if group == "00":
        codes.append("ssn_group_never_issued")
    if serial == "0000":
        codes.append("ssn_serial_never_issued")
    return codes


def _placeholder(digits: str) -> list[str]:
    """Patterns that forms are filled with. SSA may have issued some, so that they are only doubtful."""
    steps = {(int(later) - int(earlier)) % 10 for earlier, later in pairwise(digits)}
    if steps == {0}:
        return ["ssn_repeated_digit"]
    return ["ssn_sequence"] if steps in ({1}, {9}) else []


def _issue(*, area: int, group: int, born: date | None) -> list[str]:
    """When the number can have been issued, as far as that can be known, and whether that goes with the birth.

    Only the latest possible date matters: people of any age have been given numbers, but nobody before birth.
    """
    before = issued_before_randomization(area, group)
    if before is None:
        return ["ssn_issue_undetermined"]
    if not before:
        return ["ssn_issued_after_randomization"]
    ended = _RAILROAD_DISCONTINUED_ON if area in _RAILROAD_AREAS else RANDOMIZED_ON
    codes = ["ssn_issued_before_randomization"]
    if born is not None and born >= ended:
        codes.append("ssn_issued_before_birth")
    return codes


def _outcome(codes: list[str]) -> Outcome:
    if any(code in _IMPOSSIBLE for code in codes):
        return "consider"
    if any(code in _DOUBTFUL for code in codes):
        return "needs_review"
    return "clear"
