"""How long work reports its progress: the library takes a `Progress`, the command line brings the bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable and reports how far it is, with rate and time left."""

    def __call__(
        self,
        items: Iterable[Item],
        *,
        description: str,
        total: int | None = None,
        unit: str = "slice",
        initial: int = 0,
        unit_scale: int = 1,
    ) -> Iterator[Item]:
        """Yields the items unchanged.

        Args:
            items: What is worked through.
            description: What is done, in a few words.
            total: Number of items, None if it is not known.
            unit: What one item is.
            initial: Items that an earlier, interrupted call has done.
            unit_scale: Units of every item.
        """
        ...


def no_progress(items: Iterable[Item], **_: object) -> Iterator[Item]:
    """The silent `Progress`.

    >>> list(no_progress([1, 2], description="counting"))
    [1, 2]
    """
    yield from items
