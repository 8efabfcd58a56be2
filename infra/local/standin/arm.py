"""What the parts of Resource Manager share: a request whose caller is known, and the error answers.

Source of the error form: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from infra.local.standin.jwt import Claims
from infra.local.standin.resources import Subscription
from infra.local.standin.wire import Answer, Call

HOST = "management.azure.com"


@dataclass(slots=True, frozen=True)
class ArmRequest:
    """A request that carries a valid token; `parts` are the named parts of its path."""

    call: Call
    claims: Claims
    parts: Mapping[str, str]
    subscription: Subscription
    action: str  # what a role must allow; empty when none is needed

    @property
    def resource_id(self) -> str:
        """The resource id that the path addresses."""
        return self.parts["id"]


@dataclass
class ArmError(Exception):
    """An error answer of Resource Manager."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def answer(self) -> Answer:
        """The error in Azure's form."""
        headers = {"x-ms-failure-cause": "gateway"} | self.headers
        return Answer(self.status, {"error": {"code": self.code, "message": self.message}}, headers)


def not_found(kind: str, resource_id: str) -> ArmError:
    """404 for a resource of type `kind` that is not there. Source: aka.ms/ARMResourceNotFoundFix."""
    segments = resource_id.split("/")
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}/{segments[-1]}' under resource group '{segments[4]}' was not found. For more details "
        "please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def body_of[T](call: Call, kind: type[T]) -> T:
    """The body as JSON of that kind. Raises ArmError 400."""
    try:
        return msgspec.json.decode(call.body, type=kind)
    except msgspec.DecodeError:
        text = "The request content was invalid and could not be deserialized."
        raise ArmError(400, "InvalidRequestContent", text) from None
