"""Who asks. A caller can only be made from something verified: a token, a signed message, a stored record."""

from dataclasses import dataclass
from typing import NewType

from shared.core.ids import DirectoryId

ClientId = NewType("ClientId", str)  # an application in Entra ID


@dataclass(frozen=True, slots=True)
class TokenCaller:
    """A user or application with a verified access token. The directory is the token's `tid`."""

    directory_id: DirectoryId
    object_id: str
    client_id: ClientId
    roles: frozenset[str]

    @property
    def actor(self) -> str:
        """How access records name this caller: pseudonymous ids, no name of a person."""
        return f"user:{self.object_id}"


@dataclass(frozen=True, slots=True)
class MessageCaller:
    """The sender of a queue message whose signature was verified with a key that the tenant registered."""

    directory_id: DirectoryId
    key_id: str

    @property
    def actor(self) -> str:
        """How access records name this caller."""
        return f"message:{self.key_id}"


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """Bulkhead itself, continuing work that an earlier caller was allowed to start."""

    function: str

    @property
    def actor(self) -> str:
        """How access records name this caller."""
        return f"service:{self.function}"


type Caller = TokenCaller | MessageCaller | ServiceCaller
