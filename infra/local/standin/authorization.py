"""Azure role-based access control: role definitions, role assignments, deny assignments, and the decision.

Sources: learn.microsoft.com/azure/role-based-access-control/overview (how access is determined),
.../role-definitions (wildcards, NotActions), .../deny-assignments, .../built-in-roles (ids and actions).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from infra.local.standin.scopes import ByScope, Scoped, covers
from infra.local.standin.storage import Table
from infra.local.standin.wire import World


@dataclass(slots=True, frozen=True)
class RoleDefinition:
    """What a role allows. `directory_id` is None for built-in roles, which every directory has."""

    id: str  # GUID
    name: str
    directory_id: str | None = None
    actions: Sequence[str] = ()
    not_actions: Sequence[str] = ()
    data_actions: Sequence[str] = ()
    assignable_scopes: Sequence[str] = ("/",)

    def allows(self, action: str, *, data: bool = False) -> bool:
        """Whether the role allows `action`, a data action if `data`."""
        if data:
            return _matches(self.data_actions, action)
        return _matches(self.actions, action) and not _matches(self.not_actions, action)


@dataclass(slots=True, frozen=True)
class RoleAssignment(Scoped):
    """A role given to a principal (object id) at a scope."""

    role_id: str  # GUID of the definition
    principal_id: str
    in_force_at: float = field(default=0.0, compare=False)  # seconds since the epoch


@dataclass(slots=True, frozen=True)
class DenyAssignment(Scoped):
    """What everybody except the excluded principals is denied at a scope, whatever their roles."""

    name: str
    actions: Sequence[str]
    not_actions: Sequence[str]
    excluded: Sequence[str]  # object ids of principals and groups

    def denies(self, principals: Collection[str], action: str) -> bool:
        """Whether it denies `action` to somebody who is all of `principals`."""
        denied = _matches(self.actions, action) and not _matches(self.not_actions, action)
        return denied and not any(excluded in principals for excluded in self.excluded)


# A deny assignment is what stands against an action that a role would allow.
type Decision = Literal["allowed", "no_role"] | DenyAssignment

COSMOS_DB_OPERATOR = "230815da-be43-4aae-9cb4-875f7bd000aa"
DOCUMENTDB_ACCOUNT_CONTRIBUTOR = "5bd9cd88-fe45-4216-938b-f97437e15450"
KEY_VAULT_SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
APP_CONFIGURATION_DATA_READER = "516239f1-63e1-4d78-a4de-a74fb236a071"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
USER_ACCESS_ADMINISTRATOR = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"

_DOCUMENTDB = "Microsoft.DocumentDB/databaseAccounts/"
_BUILT_IN = {
    role.id: role
    # Without their actions on providers that are not played.
    for role in (
        RoleDefinition(READER, "Reader", actions=("*/read",)),
        RoleDefinition(
            USER_ACCESS_ADMINISTRATOR, "User Access Administrator", actions=("*/read", "Microsoft.Authorization/*")
        ),
        RoleDefinition(
            COSMOS_DB_OPERATOR,
            "Cosmos DB Operator",
            actions=(f"{_DOCUMENTDB}*", "Microsoft.Authorization/*/read"),
            not_actions=(
                f"{_DOCUMENTDB}readonlyKeys/*",
                f"{_DOCUMENTDB}regenerateKey/*",
                f"{_DOCUMENTDB}listKeys/*",
                f"{_DOCUMENTDB}listConnectionStrings/*",
                f"{_DOCUMENTDB}sqlRoleDefinitions/write",
                f"{_DOCUMENTDB}sqlRoleDefinitions/delete",
                f"{_DOCUMENTDB}sqlRoleAssignments/write",
                f"{_DOCUMENTDB}sqlRoleAssignments/delete",
            ),
        ),
        RoleDefinition(
            DOCUMENTDB_ACCOUNT_CONTRIBUTOR,
            "DocumentDB Account Contributor",
            actions=("Microsoft.Authorization/*/read", f"{_DOCUMENTDB}*"),
        ),
        RoleDefinition(
            KEY_VAULT_SECRETS_OFFICER,
            "Key Vault Secrets Officer",
            data_actions=("Microsoft.KeyVault/vaults/secrets/*",),
        ),
        # The named role of the daemons' group: data actions of another service only, so in a group of resources that
        # holds nothing but a Cosmos DB account it allows nothing at all, not even to read.
        RoleDefinition(
            APP_CONFIGURATION_DATA_READER,
            "App Configuration Data Reader",
            data_actions=("Microsoft.AppConfiguration/configurationStores/*/read",),
        ),
    )
}


class Authorization:
    """Role definitions, role assignments and deny assignments of all directories, written through to storage."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._custom = Table(world.storage, "authorization/roles", RoleDefinition)
        self._assignments = ByScope(world.storage, "authorization/assignments", RoleAssignment)
        self._denials = ByScope(world.storage, "authorization/denials", DenyAssignment)

    def define(self, role: RoleDefinition) -> None:
        """A custom role of one directory; again replaces it."""
        self._custom.put(role.id, role)

    def role(self, role_id: str, directory_id: str) -> RoleDefinition | None:
        """The role of this GUID as `directory_id` sees it: built-in, or a custom one of its own."""
        role = self._role(role_id.lower())
        return role if role and role.directory_id in (None, directory_id) else None

    def assign(self, assignment: RoleAssignment) -> None:
        """Give a role, in force after the delay that is set; the same id again replaces the assignment."""
        known = self._assignments.get(assignment.id)
        delay = self._world.settings.role_delay_seconds
        in_force_at = known.in_force_at if known == assignment else self._world.now() + delay
        self._assignments.put(replace(assignment, in_force_at=in_force_at))

    def assignment(self, assignment_id: str) -> RoleAssignment | None:
        """The role assignment of this GUID."""
        return self._assignments.get(assignment_id.lower())

    def same_assignment(self, wanted: RoleAssignment) -> RoleAssignment | None:
        """The assignment of the same role to the same principal at the same scope, under whatever id."""
        same = (wanted.scope.lower(), wanted.role_id, wanted.principal_id)
        found = self._assignments.above(wanted.scope)
        return next((one for one in found if (one.scope.lower(), one.role_id, one.principal_id) == same), None)

    def unassign(self, assignment_id: str) -> None:
        """Take a role away; no error when there is no such assignment."""
        self._assignments.remove(assignment_id)

    def deny(self, denial: DenyAssignment) -> None:
        """Put a deny assignment in force."""
        self._denials.put(denial)

    def remove_scope(self, scope: str) -> None:
        """Remove every role and deny assignment at or below `scope`, and roles that are assignable only there."""
        for assignment in self._assignments.within(scope):
            self._assignments.remove(assignment.id)
        for denial in self._denials.within(scope):
            self._denials.remove(denial.id)
        for role in self._custom:
            if all(covers(scope, at) for at in role.assignable_scopes):
                self._custom.remove(role.id)

    def has_role_within(self, principals: Collection[str], scope: str) -> bool:
        """Whether any role is in force for one of `principals` at or below `scope`."""
        now = self._world.now()
        return any(one.principal_id in principals and one.in_force_at <= now for one in self._assignments.within(scope))

    def decide(self, principals: Collection[str], action: str, scope: str, *, data: bool = False) -> Decision:
        """Whether somebody who is all of `principals` (own object id and those of groups) may do `action` at `scope`.

        Deny assignments of managed applications concern the control plane only.
        """
        now = self._world.now()
        if not any(
            one.principal_id in principals
            and one.in_force_at <= now
            and (role := self._role(one.role_id))
            and role.allows(action, data=data)
            for one in self._assignments.above(scope)
        ):
            return "no_role"
        denials = () if data else self._denials.above(scope)
        return next((one for one in denials if one.denies(principals, action)), "allowed")

    def _role(self, role_id: str) -> RoleDefinition | None:
        return _BUILT_IN.get(role_id) or self._custom.get(role_id)


def _matches(patterns: Sequence[str], action: str) -> bool:
    return any(_pattern(pattern).fullmatch(action) for pattern in patterns)


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    """An action pattern: `*` stands for any characters, slashes included; case is ignored."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.IGNORECASE)
