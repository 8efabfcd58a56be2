"""Candidates, authorizations, packages, reports, screenings, in the words of the screening field.

What is stored in a tenant's account has the same shape as what the API shows, except where a View is defined. What
the store needs to find it again (partition, kind) is the store's own affair.
"""

import re
from datetime import date
from typing import Annotated, Literal, NewType

import msgspec
from msgspec import Meta

from shared.core.ids import UNIQUE, TenantId
from shared.core.text import VISIBLE, whole
from shared.screening.engines.base import Finding, Gender, mask_ssn

CandidateId = NewType("CandidateId", str)
AuthorizationId = NewType("AuthorizationId", str)
ReportId = NewType("ReportId", str)
ScreeningId = NewType("ScreeningId", str)

type Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=whole(VISIBLE))]
_SLUG = r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?"
type Slug = Annotated[str, Meta(pattern=whole(_SLUG))]
type Ssn = Annotated[str, Meta(pattern=whole(r"[0-9]{3}-?[0-9]{2}-?[0-9]{4}"))]
type Email = Annotated[str, Meta(pattern=whole(r"[^@\s]+@[^@\s]+\.[^@\s]+"), max_length=254)]
type Phone = Annotated[str, Meta(pattern=whole(r"[+0-9][0-9 ().-]{4,30}"))]
type Country = Annotated[str, Meta(pattern=whole(r"[A-Z]{2}"), description="ISO 3166-1 alpha-2")]

# --- candidates ---------------------------------------------------------------------------------------------------


class Address(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A postal address."""

    street: Annotated[str, Meta(max_length=200)] | None = None
    city: Annotated[str, Meta(max_length=100)] | None = None
    state: Annotated[str, Meta(max_length=100)] | None = None
    zipcode: Annotated[str, Meta(max_length=20)] | None = None
    country: Country | None = None


class CandidateData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`POST /candidates`: a person to be screened."""

    first_name: Name
    last_name: Name
    middle_name: Name | None = None
    other_names: Annotated[tuple[Name, ...], Meta(max_length=20)] = ()
    email: Email | None = None
    phone: Phone | None = None
    dob: date | None = None
    ssn: Ssn | None = None
    gender: Gender | None = None
    nationalities: Annotated[tuple[Country, ...], Meta(max_length=10)] = ()
    address: Address | None = None
    custom_id: Annotated[str, Meta(max_length=255)] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # personal data


class CandidatePatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`PATCH /candidates/{id}`: what is absent stays, null removes."""

    first_name: Name | msgspec.UnsetType = msgspec.UNSET
    last_name: Name | msgspec.UnsetType = msgspec.UNSET
    middle_name: Name | msgspec.UnsetType | None = msgspec.UNSET
    other_names: Annotated[tuple[Name, ...], Meta(max_length=20)] | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType | None = msgspec.UNSET
    phone: Phone | msgspec.UnsetType | None = msgspec.UNSET
    dob: date | msgspec.UnsetType | None = msgspec.UNSET
    ssn: Ssn | msgspec.UnsetType | None = msgspec.UNSET
    gender: Gender | msgspec.UnsetType | None = msgspec.UNSET
    nationalities: Annotated[tuple[Country, ...], Meta(max_length=10)] | msgspec.UnsetType = msgspec.UNSET
    address: Address | msgspec.UnsetType | None = msgspec.UNSET
    custom_id: Annotated[str, Meta(max_length=255)] | msgspec.UnsetType | None = msgspec.UNSET

    def __repr__(self) -> str:
        return "CandidatePatch(...)"  # personal data


class Candidate(CandidateData, frozen=True, kw_only=True, omit_defaults=False, forbid_unknown_fields=False):
    """A candidate as stored."""

    id: CandidateId
    created_at: str
    updated_at: str


class CandidateView(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate as the API shows it: the SSN is masked."""

    id: CandidateId
    object: Literal["candidate"] = "candidate"
    first_name: str
    middle_name: str | None
    last_name: str
    other_names: tuple[str, ...]
    email: str | None
    phone: str | None
    dob: date | None
    ssn: str | None
    gender: Gender | None
    nationalities: tuple[str, ...]
    address: Address | None
    custom_id: str | None
    created_at: str
    updated_at: str


def candidate_view(candidate: Candidate) -> CandidateView:
    """The shown form of `candidate`."""
    fields = {
        name: getattr(candidate, name) for name in CandidateView.__struct_fields__ if name not in ("object", "ssn")
    }
    return CandidateView(**fields, ssn=mask_ssn(candidate.ssn) if candidate.ssn else None)


# --- authorizations -----------------------------------------------------------------------------------------------


class SignedText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text the candidate was shown or signed: its version and the SHA-256 of it."""

    version: Annotated[str, Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, Meta(pattern=whole(r"[0-9a-f]{64}"))]


class AuthorizationData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /candidates/{id}/authorizations`: the evidence that a check may start (FCRA, 15 U.S.C. 1681b(b)).

    `disclosure` is the standalone disclosure, `authorization` the signed consent; the employer certifies that it
    follows 1681b(b)(1)(A).
    """

    permissible_purpose: Literal["employment"]
    employer_certification: bool
    disclosure: SignedText
    authorization: SignedText
    signed_at: Annotated[
        str,
        Meta(
            pattern=whole(
                r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
            ),
            description="RFC 3339",
        ),
    ]


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization as stored and shown. Kept as evidence after its withdrawal."""

    id: AuthorizationId
    object: Literal["authorization"] = "authorization"
    candidate_id: CandidateId
    permissible_purpose: Literal["employment"]
    employer_certification: bool
    disclosure: SignedText
    authorization: SignedText
    signed_at: str
    recorded_by: str
    created_at: str
    withdrawn_at: str | None = None


# --- packages -----------------------------------------------------------------------------------------------------

type ScreeningType = Literal["watchlist", "ssn_trace"]


class PackageData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /packages/{slug}`: which screenings a package orders."""

    name: Name
    screenings: Annotated[tuple[ScreeningType, ...], Meta(min_length=1, max_length=20)]


def is_slug(text: str) -> bool:
    """Whether `text` can name a package. What cannot is never looked for: it could name another document."""
    return re.fullmatch(_SLUG, text) is not None


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package as stored and shown."""

    object: Literal["package"] = "package"
    slug: Slug
    name: str
    screenings: tuple[ScreeningType, ...]
    built_in: bool = False
    updated_at: str | None = None

    @property
    def id(self) -> str:
        """What it is listed by."""
        return self.slug


BUILT_IN_PACKAGES: dict[str, Package] = {
    package.slug: package
    for package in (
        Package(slug="essential", name="Essential", screenings=("ssn_trace", "watchlist"), built_in=True),
        Package(slug="watchlist", name="Watchlist only", screenings=("watchlist",), built_in=True),
    )
}

# --- reports ------------------------------------------------------------------------------------------------------

type ReportStatus = Literal["pending", "suspended", "paused", "complete", "dispute", "canceled"]
type ScreeningStatus = Literal["pending", "suspended", "complete", "canceled"]
type Result = Literal["clear", "consider"]
type CancellationReason = Literal[
    "requested", "candidate_missing_consent", "candidate_withdrew_consent", "candidate_erased",
    "missing_required_information",
]  # fmt: skip


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A reviewer's word on a potential match."""

    decision: Literal["confirmed", "dismissed"]
    reviewed_by: str
    reviewed_at: str


class Screening(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work of a report."""

    id: ScreeningId
    type: ScreeningType
    status: ScreeningStatus = "pending"
    result: Result | None = None
    review_required: bool = False
    review: Review | None = None
    cancellation_reason: CancellationReason | None = None
    findings: tuple[Finding, ...] = ()
    engine_version: str | None = None
    created_at: str
    completed_at: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One order for one candidate, with its screenings. As stored and shown."""

    id: ReportId
    object: Literal["report"] = "report"
    candidate_id: CandidateId
    authorization_id: AuthorizationId
    package: Slug
    status: ReportStatus = "pending"
    result: Result | None = None
    assessment: Literal["eligible", "review", "escalated"] | None = None
    adjudication: Literal["engaged", "pre_adverse_action", "post_adverse_action"] | None = None
    includes_canceled: bool = False
    screenings: tuple[Screening, ...]
    source: Literal["api", "queue"]
    created_at: str
    updated_at: str
    completed_at: str | None = None
    revised_at: str | None = None


class ReportOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /reports`: a background check of one candidate."""

    candidate_id: Annotated[str, Meta(max_length=64)]
    package: Slug


class ReviewDecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /reports/{id}/screenings/{id}/review`."""

    decision: Literal["confirmed", "dismissed"]


class ScreeningJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message of the queue `screenings`: ids and times only.

    Whoever may write there must not put anything else into logs and access records, nor shorten the pauses.
    """

    tenant_id: Annotated[TenantId, Meta(pattern=whole(f"ten_{UNIQUE}"))]
    report_id: Annotated[ReportId, Meta(pattern=whole(f"rep_{UNIQUE}"))]
    screening_id: Annotated[ScreeningId, Meta(pattern=whole(f"scr_{UNIQUE}"))]
    accepted_at: str
    attempt: Annotated[int, Meta(ge=1)] = 1
