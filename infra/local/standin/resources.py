"""Resource Manager's own objects: subscriptions, managed applications. State only."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.local.standin.storage import Table
from infra.local.standin.wire import World

LOCATION = "westeurope"


@dataclass(slots=True, frozen=True)
class Subscription:
    """A subscription belongs to one directory."""

    id: str  # GUID
    directory_id: str
    name: str

    @property
    def scope(self) -> str:
        """Its resource id."""
        return f"/subscriptions/{self.id}"


@dataclass(slots=True, frozen=True)
class Grant:
    """One entry of a managed application definition's `authorizations`: a role for a publisher's principal."""

    principal_id: str
    role_id: str  # GUID of a built-in role


@dataclass(slots=True, frozen=True)
class ManagedApplication:
    """A customer's deployment of the publisher's managed application."""

    id: str
    managed_resource_group_id: str
    publisher_directory_id: str
    authorizations: Sequence[Grant]
    outputs: dict[str, str]
    created: str  # RFC 3339

    @property
    def subscription_id(self) -> str:
        """GUID of the subscription, in lower case."""
        return self.id.split("/")[2].lower()


class Resources:
    """Subscriptions, and the one managed application that each may have. Ids ignore case."""

    def __init__(self, world: World) -> None:
        self._subscriptions = Table(world.storage, "resources/subscriptions", Subscription)
        self._applications = Table(world.storage, "resources/applications", ManagedApplication)  # by subscription

    def add_subscription(self, subscription: Subscription) -> None:
        """Add or replace a subscription."""
        self._subscriptions.put(subscription.id.lower(), subscription)

    def subscription(self, subscription_id: str) -> Subscription | None:
        """The subscription of this GUID."""
        return self._subscriptions.get(subscription_id.lower())

    def add_application(self, application: ManagedApplication) -> None:
        """Add or replace a subscription's managed application."""
        self._applications.put(application.subscription_id, application)

    def application(self, application_id: str) -> ManagedApplication | None:
        """The managed application of this resource id."""
        found = self._applications.get(application_id.split("/")[2].lower())
        return found if found and found.id.lower() == application_id.lower() else None

    def granted(self, application_id: str) -> set[str]:
        """Object ids of the principals in a managed application's authorizations; none when it is not there."""
        application = self.application(application_id)
        return {grant.principal_id for grant in application.authorizations} if application else set()

    def admits(self, subscription: Subscription, directory_id: str) -> bool:
        """Whether a directory reaches into a subscription: its own, or the publisher's of the application there."""
        application = self._applications.get(subscription.id.lower())
        return directory_id in (subscription.directory_id, application and application.publisher_directory_id)

    def remove_application(self, subscription_id: str) -> None:
        """Remove a subscription's managed application."""
        self._applications.remove(subscription_id.lower())
