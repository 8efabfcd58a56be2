"""Request charges, and the throughput limit of a container.

Charges follow the figures of learn.microsoft.com/azure/cosmos-db/request-units: reading an item of 1 KB costs 1 RU,
of 100 KB 10 RU; writing costs about five times as much. They rise with size as Azure's do; they are not Azure's.
"""

import math

from infra.local.standin.cosmos.errors import too_many_requests
from infra.local.standin.wire import World

_KILOBYTE = 1024


def read_charge(size: int) -> float:
    """RU of a point read of `size` bytes."""
    return round(1 + max(0.0, size / _KILOBYTE - 1) * 9 / 99, 2)


def write_charge(size: int) -> float:
    """RU of creating, replacing or deleting an item of `size` bytes."""
    return round(5 * read_charge(size), 2)


def query_charge(items: int, size: int) -> float:
    """RU of a page of `items` results of `size` bytes together."""
    return round(2.3 + 0.1 * items + 0.3 * size / _KILOBYTE, 2)


class Throughput:
    """A container's RU per second, if the settings limit it.

    One second's worth may be used at once; what is overdrawn is waited for.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._used = 0.0  # RU that are not paid back yet
        self._at = 0.0

    def check(self) -> None:
        """Raise CosmosError 429 with x-ms-retry-after-ms while the throughput is used up."""
        limit = self._world.settings.cosmos_throughput
        if limit is None:
            self._used = 0.0
            return
        now = self._world.now()
        self._used = max(0.0, self._used - max(0.0, now - self._at) * limit)
        self._at = now
        if self._used >= limit:
            raise too_many_requests(max(1, math.ceil((self._used - limit) / limit * 1000)))

    def use(self, charge: float) -> None:
        """Count a request's charge."""
        self._used += charge
