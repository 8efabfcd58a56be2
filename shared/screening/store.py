"""Where the domain's objects lie in a tenant's account. Bound to one tenant by the documents it is given."""

from dataclasses import dataclass

import msgspec

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Documents, Json, Query
from shared.core.errors import BulkheadError, Kind, not_found
from shared.core.ids import is_id
from shared.screening.models import (
    BUILT_IN_PACKAGES,
    Authorization,
    Candidate,
    Package,
    Report,
    is_slug,
)

_CANDIDATES = "candidates"
_REPORTS = "reports"
_SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Versioned[T]:
    """An object and the ETag of the state it was read in."""

    value: T
    etag: str


class ScreeningStore:
    """Candidates, authorizations, packages and reports of one tenant. Raises BulkheadError."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def candidate(self, candidate_id: str) -> Versioned[Candidate]:
        """Raises not_found."""
        return await self._read(Candidate, "candidate", _CANDIDATES, "cand", candidate_id)

    async def add_candidate(self, candidate: Candidate) -> Versioned[Candidate]:
        """Store a new candidate; the same id again gives what is stored."""
        return await self._add(_candidate(candidate), candidate, _CANDIDATES, candidate.id)

    async def replace_candidate(self, candidate: Candidate, etag: str) -> Versioned[Candidate]:
        """Raises precondition_failed."""
        return await self._replace(_candidate(candidate), candidate, _CANDIDATES, etag)

    async def erase_candidate(self, candidate_id: str) -> None:
        """Delete the person's data. Authorizations and reports stay: they name the candidate by id only."""
        await self._documents.delete(_CANDIDATES, candidate_id, candidate_id)

    async def candidates(self, after: str | None, limit: int) -> list[Candidate]:
        """Newest first."""
        found = await self._documents.query(Query(_CANDIDATES, {"kind": "candidate"}, after=after, limit=limit))
        return [_load(Candidate, document) for document in found]

    async def add_authorization(self, authorization: Authorization) -> Versioned[Authorization]:
        """Store the evidence."""
        return await self._add(_authorization(authorization), authorization, _CANDIDATES, authorization.candidate_id)

    async def authorization(self, candidate_id: str, authorization_id: str) -> Versioned[Authorization]:
        """Raises not_found."""
        document = None
        if is_id("cand", candidate_id) and is_id("auth", authorization_id):
            document = await self._documents.read(_CANDIDATES, candidate_id, authorization_id)
        if document is None:
            raise not_found("authorization")
        return Versioned(_load(Authorization, document), document.etag)

    async def replace_authorization(self, authorization: Authorization, etag: str) -> Versioned[Authorization]:
        """Raises precondition_failed."""
        return await self._replace(_authorization(authorization), authorization, _CANDIDATES, etag)

    async def authorizations(self, candidate_id: str, after: str | None = None) -> list[Authorization]:
        """A candidate's, newest first, at most 100."""
        query = Query(_CANDIDATES, {"kind": "authorization"}, partition=candidate_id, after=after)
        return [_load(Authorization, document) for document in await self._documents.query(query)]

    async def authorization_in_force(self, candidate_id: str) -> Authorization | None:
        """The newest that was not withdrawn."""
        after = None
        while page := await self.authorizations(candidate_id, after):
            if found := next((one for one in page if one.withdrawn_at is None), None):
                return found
            after = page[-1].id
        return None

    async def packages(self, after: str | None, limit: int) -> list[Package]:
        """The tenant's own and those built in that it has not replaced, by slug."""
        query = Query(_SETTINGS, {}, partition="package", descending=False, after=after, limit=limit)
        own = {one.slug: one for one in [_load(Package, document) for document in await self._documents.query(query)]}
        built_in = {slug: one for slug, one in BUILT_IN_PACKAGES.items() if after is None or slug > after}
        return [package for _, package in sorted((built_in | own).items())][:limit]

    async def package(self, slug: str) -> Versioned[Package]:
        """Raises not_found. The ETag of a built-in package is empty."""
        document = await self._documents.read(_SETTINGS, "package", slug) if is_slug(slug) else None
        if document is not None:
            return Versioned(_load(Package, document), document.etag)
        if slug in BUILT_IN_PACKAGES:
            return Versioned(BUILT_IN_PACKAGES[slug], "")
        raise not_found("package")

    async def put_package(self, package: Package, etag: str | None) -> Versioned[Package]:
        """Create the package (etag None) or replace the state that the ETag names. Raises precondition_failed."""
        if etag is not None:
            return await self._replace(_package(package), package, _SETTINGS, etag)
        try:
            document = await self._documents.create(_SETTINGS, _package(package))
        except DocumentExistsError as error:
            raise _changed() from error
        return Versioned(package, document.etag)

    async def report(self, report_id: str) -> Versioned[Report]:
        """Raises not_found."""
        return await self._read(Report, "report", _REPORTS, "rep", report_id)

    async def add_report(self, report: Report) -> Versioned[Report]:
        """Store a new report; the same id again gives what is stored."""
        return await self._add(_report(report), report, _REPORTS, report.id)

    async def replace_report(self, report: Report, etag: str) -> Versioned[Report]:
        """Raises precondition_failed."""
        return await self._replace(_report(report), report, _REPORTS, etag)

    async def reports(
        self, *, status: str | None = None, candidate_id: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[Report]:
        """Newest first."""
        where: dict[str, str | int | bool] = {"kind": "report"}
        if status is not None:
            where["status"] = status
        if candidate_id is not None:
            where["candidate_id"] = candidate_id
        found = await self._documents.query(Query(_REPORTS, where, after=after, limit=limit))
        return [_load(Report, document) for document in found]

    async def _read[T](self, model: type[T], noun: str, container: str, prefix: str, object_id: str) -> Versioned[T]:
        document = await self._documents.read(container, object_id, object_id) if is_id(prefix, object_id) else None
        if document is None:
            raise not_found(noun)
        return Versioned(_load(model, document), document.etag)

    async def _add[T: msgspec.Struct](self, body: Json, value: T, container: str, partition: str) -> Versioned[T]:
        try:
            document = await self._documents.create(container, body)
        except DocumentExistsError:
            stored = await self._documents.read(container, partition, body["id"])
            if stored is None:
                raise _changed() from None
            return Versioned(_load(type(value), stored), stored.etag)
        return Versioned(value, document.etag)

    async def _replace[T](self, body: Json, value: T, container: str, etag: str) -> Versioned[T]:
        try:
            document = await self._documents.replace(container, body, etag)
        except DocumentChangedError as error:
            raise _changed() from error
        return Versioned(value, document.etag)


# Documents: the object, its kind, and the field that is its container's partition key (infra/managed_app).


def _plain(value: msgspec.Struct) -> Json:
    plain: Json = msgspec.to_builtins(value)
    return plain


def _candidate(candidate: Candidate) -> Json:
    return _plain(candidate) | {"kind": "candidate", "candidate_id": candidate.id}


def _authorization(authorization: Authorization) -> Json:
    return _plain(authorization) | {"kind": "authorization"}


def _package(package: Package) -> Json:
    return _plain(package) | {"kind": "package", "id": package.slug}


def _report(report: Report) -> Json:
    return _plain(report) | {"kind": "report", "report_id": report.id}


def _load[T](model: type[T], document: Document) -> T:
    try:
        return msgspec.convert(document.body, model)
    except msgspec.ValidationError:
        # No cause: its text may quote personal data.
        raise BulkheadError(Kind.BROKEN, "document_unreadable", "A stored document cannot be read.") from None


def _changed() -> BulkheadError:
    return BulkheadError(Kind.PRECONDITION_FAILED, "changed_meanwhile", "The object was changed since it was read.")
