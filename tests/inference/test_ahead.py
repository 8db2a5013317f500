from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from slicewise.inference.ahead import one_ahead


def test_it_is_map() -> None:
    for count in (0, 1, 2, 7):
        assert list(one_ahead(str, range(count))) == list(map(str, range(count)))


def test_the_next_item_is_worked_on_while_the_last_one_is_used_and_no_further_one() -> None:
    begun: list[int] = []
    second = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            second.set()
        return item

    outcomes = one_ahead(work, range(10))
    assert next(outcomes) == 0
    assert second.wait(60)
    assert begun == [0, 1]


def test_items_are_taken_by_the_callers_thread() -> None:
    threads = []

    def items() -> Iterator[int]:
        for item in range(3):
            threads.append(threading.current_thread())
            yield item

    list(one_ahead(str, items()))
    assert set(threads) == {threading.current_thread()}


def test_an_error_comes_in_its_place_and_ends_the_thread() -> None:
    def work(item: int) -> int:
        return 1 // (1 - item)

    outcomes = one_ahead(work, range(3))
    assert next(outcomes) == 1
    with pytest.raises(ZeroDivisionError):
        next(outcomes)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slicewise-ahead")]


def test_closing_it_early_ends_the_thread() -> None:
    outcomes = one_ahead(str, range(100))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slicewise-ahead")]
