"""Resource Manager's operations on role assignments.

Sources: learn.microsoft.com/rest/api/authorization/role-assignments (paths, bodies),
learn.microsoft.com/azure/role-based-access-control/troubleshooting (error codes).
"""

from typing import Any

import msgspec

from infra.local.standin.arm import ArmError, ArmRequest, body_of
from infra.local.standin.authorization import Authorization, RoleAssignment
from infra.local.standin.directories import Directories
from infra.local.standin.scopes import covers
from infra.local.standin.wire import Answer


class _Properties(msgspec.Struct, rename="camel"):
    role_definition_id: str
    principal_id: str


class _Body(msgspec.Struct):
    """What is sent to assign a role."""

    properties: _Properties


class RoleOperations:
    """The operations; access is checked by the caller."""

    def __init__(self, authorization: Authorization, directories: Directories) -> None:
        self._authorization = authorization
        self._directories = directories

    def put(self, request: ArmRequest) -> Answer:
        """Assign a role under an id chosen by the caller; the same again is no error."""
        properties = body_of(request.call, _Body).properties
        role_id, principal_id = properties.role_definition_id.rpartition("/")[2].lower(), properties.principal_id
        directory_id, scope = request.subscription.directory_id, request.parts["scope"]
        role = self._authorization.role(role_id, directory_id)
        if role is None or not any(covers(at, scope) for at in role.assignable_scopes):
            text = f"The specified role definition with ID '{role_id}' does not exist."
            raise ArmError(400, "RoleDefinitionDoesNotExist", text)
        homes = (directory_id, request.claims.directory_id)
        if not any(self._directories.has_principal(principal_id, home) for home in homes):
            raise ArmError(
                400,
                "PrincipalNotFound",
                f"Principal {principal_id.replace('-', '')} does not exist in the directory {directory_id}. Check that "
                "you have the correct principal ID. If you are creating this principal and then immediately assigning "
                "a role, this error might be related to a replication delay. In this case, set the role assignment "
                "principalType property to a value, such as ServicePrincipal, User, or Group.",
            )
        wanted = RoleAssignment(request.parts["assignment"].lower(), scope, role_id, principal_id)
        if known := self._authorization.assignment(wanted.id):
            if known != wanted:
                text = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
                raise ArmError(409, "RoleAssignmentUpdateNotPermitted", text)
            return Answer(200, _shown(known, directory_id))
        if same := self._authorization.same_assignment(wanted):
            existing = same.id.replace("-", "")
            text = f"The role assignment already exists. The ID of the existing role assignment is {existing}."
            raise ArmError(409, "RoleAssignmentExists", text)
        self._authorization.assign(wanted)
        return Answer(201, _shown(wanted, directory_id))

    def get(self, request: ArmRequest) -> Answer:
        """One role assignment."""
        assignment = self._find(request)
        if assignment is None:
            text = f"The role assignment '{request.parts['assignment']}' is not found."
            raise ArmError(404, "RoleAssignmentNotFound", text)
        return Answer(200, _shown(assignment, request.subscription.directory_id))

    def delete(self, request: ArmRequest) -> Answer:
        """Take a role away; 204 when it is gone already."""
        assignment = self._find(request)
        if assignment is None:
            return Answer(204)
        self._authorization.unassign(assignment.id)
        return Answer(200, _shown(assignment, request.subscription.directory_id))

    def _find(self, request: ArmRequest) -> RoleAssignment | None:
        assignment = self._authorization.assignment(request.parts["assignment"])
        if assignment is None or assignment.scope.lower() != request.parts["scope"].lower():
            return None
        return assignment


def _shown(assignment: RoleAssignment, directory_id: str) -> dict[str, Any]:
    provider = "/".join(assignment.scope.split("/")[:3]) + "/providers/Microsoft.Authorization"
    return {
        "id": f"{assignment.scope}/providers/Microsoft.Authorization/roleAssignments/{assignment.id}",
        "type": "Microsoft.Authorization/roleAssignments",
        "name": assignment.id,
        "properties": {
            "roleDefinitionId": f"{provider}/roleDefinitions/{assignment.role_id}",
            "principalId": assignment.principal_id,
            "principalType": "ServicePrincipal",
            "scope": assignment.scope,
            "condition": None,
            "delegatedManagedIdentityResourceId": None,
            "tenantId": directory_id,
        },
    }
