"""Scopes of Resource Manager, from subscription down to resource, and objects in force at and below a scope."""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.local.standin.storage import Storage, Table


@dataclass(slots=True, frozen=True)
class Scoped:
    """Something in force at a scope and below it."""

    id: str  # GUID
    scope: str  # a resource id


class ByScope[T: Scoped]:
    """Objects by id and by scope, so that a decision looks only at the scopes above it."""

    def __init__(self, storage: Storage, kind: str, stored: type[T]) -> None:
        self._all = Table(storage, kind, stored)
        self._at: dict[str, dict[str, T]] = {}  # scope in lower case -> id -> object
        for one in self._all:
            self._at.setdefault(one.scope.lower(), {})[one.id] = one

    def put(self, one: T) -> None:
        """Add an object, or replace the one of its id."""
        if known := self._all.get(one.id):
            del self._at[known.scope.lower()][one.id]
        self._at.setdefault(one.scope.lower(), {})[one.id] = one
        self._all.put(one.id, one)

    def get(self, object_id: str) -> T | None:
        """The object of that id."""
        return self._all.get(object_id)

    def remove(self, object_id: str) -> None:
        """Remove an object; no error when it is not there."""
        if one := self._all.remove(object_id):
            del self._at[one.scope.lower()][one.id]

    def above(self, scope: str) -> Iterator[T]:
        """Those at `scope` and at every scope that covers it."""
        for at in upwards(scope):
            yield from self._at.get(at, {}).values()

    def within(self, scope: str) -> list[T]:
        """Those at or below `scope`."""
        return [one for one in self._all if covers(scope, one.scope)]


def upwards(scope: str) -> Iterator[str]:
    """`scope` and every scope that covers it, in lower case."""
    scope = scope.lower()
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]


def covers(scope: str, other: str) -> bool:
    """Whether `scope` is `other` or above it. Scopes are compared by whole segments, without regard to case."""
    upper, lower = scope.lower().rstrip("/"), other.lower()
    return lower == upper or lower.startswith(upper + "/")
