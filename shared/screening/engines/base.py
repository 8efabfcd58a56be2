"""What every screening engine takes in and gives out.

An engine is pure: it reads no clock, no file and no network. It gets a subject and today's date and answers with
findings that name what it saw by code. Texts of findings carry no personal data of the subject, so that they may be
shown, logged or counted; what identifies a potential match is data of the list, not of the subject.
"""

from datetime import date
from typing import Literal, Protocol

import msgspec

type Outcome = Literal["clear", "consider", "needs_review"]
type Gender = Literal["male", "female"]
type Evidence = Literal["date_of_birth", "country", "gender"]

MISSING_REQUIRED_INFORMATION = "missing_required_information"


def mask_ssn(ssn: str) -> str:
    """`XXX-XX-1234` for nine digits however they are grouped; nothing at all of anything else."""
    digits = "".join(ssn.replace("-", " ").split())
    if len(digits) == 9 and digits.isascii() and digits.isdigit():
        return f"XXX-XX-{digits[-4:]}"
    return "XXX-XX-XXXX"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The person to be screened, as far as engines need to know.

    `other_names` are full names (a maiden name, a name in another script). `countries` are nationalities or
    residences, as ISO 3166-1 alpha-2 codes or English names. Its representation shows no personal data.
    """

    given_name: str
    family_name: str
    middle_name: str = ""
    other_names: tuple[str, ...] = ()
    date_of_birth: date | None = None
    ssn: str | None = None
    countries: tuple[str, ...] = ()
    gender: Gender | None = None

    def __repr__(self) -> str:
        return f"Subject(ssn={mask_ssn(self.ssn) if self.ssn else None})"

    def __rich_repr__(self) -> list[tuple[str, str | None]]:
        return [("ssn", mask_ssn(self.ssn) if self.ssn else None)]


class PotentialMatch(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a list that may be the subject: for a person to confirm or dismiss.

    `score` is `name_score` less what the disagreeing evidence takes away, both between 0 and 1.
    Evidence that is missing on either side neither agrees nor disagrees.
    """

    list_name: str
    entry_id: str
    matched_name: str
    primary_name: str
    programs: tuple[str, ...]
    score: float
    name_score: float
    weak_alias: bool
    agrees: tuple[Evidence, ...]
    disagrees: tuple[Evidence, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One observation of an engine: a stable code, a sentence without personal data, and a match where there is one."""

    code: str
    text: str
    match: PotentialMatch | None = None


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine concludes: nothing found, something to weigh, or something that a person has to look at."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()

    @property
    def lacks_required_information(self) -> bool:
        """Whether the engine could not run for want of data: the screening is canceled with that reason."""
        return any(finding.code == MISSING_REQUIRED_INFORMATION for finding in self.findings)


class Engine(Protocol):
    """One kind of screening. `version` changes whenever the same subject could get another result."""

    @property
    def name(self) -> str:
        """The name under which packages order this screening."""

    @property
    def version(self) -> str:
        """Of the rules and of the data they ran on; stored with the result."""

    def run(self, subject: Subject, today: date) -> EngineResult:
        """Screen a subject as of `today`. Never raises on account of what the subject contains."""
