"""Scopes of Resource Manager, from subscription down to resource, and objects in force at and below a scope."""

from collections.abc import Iterator
from typing import Protocol

from infra.local.standin.storage import Storage, Table


class Scoped(Protocol):
    """Something in force at a scope and below it."""

    @property
    def id(self) -> str:
        """Unique among its kind."""
        ...

    @property
    def scope(self) -> str:
        """A resource id."""
        ...


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
        scope = scope.lower()
        while scope:
            yield from self._at.get(scope, {}).values()
            scope = scope.rpartition("/")[0]

    def within(self, scope: str) -> list[T]:
        """Those at or below `scope`."""
        return [one for one in self._all if covers(scope, one.scope)]


def covers(scope: str, other: str) -> bool:
    """Whether `scope` is `other` or above it. Scopes are compared by whole segments, without regard to case."""
    upper, lower = scope.lower().rstrip("/"), other.lower()
    return lower == upper or lower.startswith(upper + "/")
