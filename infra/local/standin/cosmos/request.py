"""A call on an account, with the resources that its path names."""

from dataclasses import dataclass

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.accounts import Account
from infra.local.standin.cosmos.links import Link
from infra.local.standin.cosmos.store import Container, Database, Store
from infra.local.standin.wire import Call


@dataclass(slots=True)
class Request:
    """The call, and what it is about."""

    call: Call
    link: Link
    account: Account
    store: Store

    def asks(self, header: str) -> bool:
        """Whether a header is `true`."""
        return self.call.headers.get(header, "").lower() == "true"

    @property
    def database(self) -> Database:
        """The database that the link names. Raises CosmosError 404."""
        database = self.store.databases(self.account.name).get(self.link.database)
        if database is None:
            raise errors.resource_not_found() if self.link.resource_type == "dbs" else errors.owner_not_found()
        return database

    @property
    def container(self) -> Container:
        """The container that the link names. Raises CosmosError 404."""
        container = self.database.containers.get(self.link.container)
        if container is None:
            raise errors.resource_not_found() if self.link.resource_type == "colls" else errors.owner_not_found()
        return container

    def headers(self, charge: float) -> dict[str, str]:
        """The headers of every answer; `charge` in RU."""
        return {
            "content-type": "application/json",
            "x-ms-activity-id": self.call.headers.get("x-ms-activity-id", ""),
            "x-ms-request-charge": str(charge),
        }
