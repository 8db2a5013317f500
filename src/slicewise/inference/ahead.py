"""Work that is done one item ahead of whoever needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def one_ahead(function: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
    """Yields what `map` would, and works on the next item in a thread while the caller uses the last one.

    One outcome waits at most, so that memory does not grow. Items are taken by the caller's thread.

    Args:
        function: Is called in another thread, for one item at a time.
        items: Are taken one ahead.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="slicewise-ahead") as pool:
        ahead: Future[Outcome] | None = None
        for item in items:
            following = pool.submit(function, item)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
