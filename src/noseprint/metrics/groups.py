"""Sets that grow together."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class DisjointSets(Generic[T]):
    """Disjoint sets over items that are added on sight; joining appends the smaller set to the larger."""

    def __init__(self) -> None:
        self._set_of: dict[T, list[T]] = {}

    def add(self, *items: T) -> None:
        """Make a set of its own of each item that is not in one yet."""
        for item in items:
            self.members(item)

    def members(self, item: T) -> list[T]:
        """The set `item` is in, itself included, in the order of joining: the same list object for all its members."""
        return self._set_of.setdefault(item, [item])

    def join(self, a: T, b: T) -> None:
        """Make one set of the sets of `a` and `b`."""
        kept, moved = self.members(a), self.members(b)
        if kept is moved:
            return
        if len(kept) < len(moved):
            kept, moved = moved, kept
        kept.extend(moved)
        for item in moved:
            self._set_of[item] = kept

    def sets(self) -> list[list[T]]:
        """All sets, by first appearance of any of their members."""
        return list({id(group): group for group in self._set_of.values()}.values())
