"""What registering a tenant needs from outside."""

from typing import Protocol

import msgspec

from shared.access.models import Account
from shared.core.ids import DirectoryId


class ManagedApplication(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's deployment of the managed application, as Resource Manager tells it."""

    application_id: str
    directory_id: DirectoryId
    account: Account


class Applications(Protocol):
    """Resource Manager, read with the control plane's managed identity."""

    async def describe(self, application_id: str) -> ManagedApplication:
        """Read the application back. Raises BulkheadError: unprocessable when there is none that is ours."""
        ...
