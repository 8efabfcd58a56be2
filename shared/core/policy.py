"""What a role may do. An action that is not in a table, a role that is not known: no."""

from collections.abc import Mapping
from enum import StrEnum

from shared.core.caller import ClientId, TokenCaller
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import DirectoryId


class Action(StrEnum):
    """Everything that a token's owner can ask for."""

    CANDIDATES_READ = "candidates.read"
    CANDIDATES_WRITE = "candidates.write"
    AUTHORIZATIONS_WRITE = "authorizations.write"
    PACKAGES_READ = "packages.read"
    PACKAGES_WRITE = "packages.write"
    REPORTS_READ = "reports.read"
    REPORTS_WRITE = "reports.write"
    SCREENINGS_REVIEW = "screenings.review"
    ACCESS_LOG_READ = "access_log.read"
    TENANT_READ = "tenant.read"
    TENANT_WRITE = "tenant.write"
    TENANTS_READ = "tenants.read"
    TENANTS_WRITE = "tenants.write"


_ADMIN = "Tenant.Admin"

TENANT_ROLES: Mapping[Action, frozenset[str]] = {
    Action.CANDIDATES_READ: frozenset({"Candidates.ReadWrite", _ADMIN}),
    Action.CANDIDATES_WRITE: frozenset({"Candidates.ReadWrite", _ADMIN}),
    Action.AUTHORIZATIONS_WRITE: frozenset({"Candidates.ReadWrite", _ADMIN}),
    Action.PACKAGES_READ: frozenset({"Reports.Read", "Reports.ReadWrite", _ADMIN}),
    Action.PACKAGES_WRITE: frozenset({_ADMIN}),
    Action.REPORTS_READ: frozenset({"Reports.Read", "Reports.ReadWrite", "Adjudications.ReadWrite", _ADMIN}),
    Action.REPORTS_WRITE: frozenset({"Reports.ReadWrite", _ADMIN}),
    Action.SCREENINGS_REVIEW: frozenset({"Adjudications.ReadWrite", _ADMIN}),
    Action.ACCESS_LOG_READ: frozenset({_ADMIN}),
    Action.TENANT_READ: frozenset({_ADMIN}),
    Action.TENANT_WRITE: frozenset({_ADMIN}),
}
PUBLISHER_ROLES: Mapping[Action, frozenset[str]] = {
    Action.TENANTS_READ: frozenset({"Publisher.Read", "Publisher.Operate"}),
    Action.TENANTS_WRITE: frozenset({"Publisher.Operate"}),
}


def require_tenant_role(caller: TokenCaller, action: Action) -> None:
    """Raise BulkheadError (forbidden) unless one of the caller's roles grants `action` on its own tenant."""
    _require(caller, TENANT_ROLES.get(action, frozenset()))


def require_publisher_role(caller: TokenCaller, action: Action, publisher: DirectoryId) -> None:
    """Raise BulkheadError (forbidden) unless the caller is of the publisher's directory and has a role for `action`.

    The directory is checked first: a customer's own administrator can grant a role of any name there.
    """
    if caller.directory_id != publisher:
        raise _denied("Only staff of the publisher may do this.")
    _require(caller, PUBLISHER_ROLES.get(action, frozenset()))


def require_client(caller: TokenCaller, allowed: frozenset[ClientId]) -> None:
    """Raise BulkheadError (forbidden) unless the token was issued to one of the `allowed` client applications."""
    if caller.client_id not in allowed:
        raise _denied("This client application may not call on behalf of this directory.")


def _require(caller: TokenCaller, sufficient: frozenset[str]) -> None:
    if not sufficient & caller.roles:
        raise _denied("The token has no role that allows this.")


def _denied(detail: str) -> BulkheadError:
    return BulkheadError(Kind.FORBIDDEN, "forbidden", detail)
