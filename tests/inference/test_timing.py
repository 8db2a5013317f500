from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from slicewise.inference.timing import Profile, StepTime, Timings, no_timing, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that passes, in seconds; tests move it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: 10 * now[0])
    return now


def test_steps_add_up_in_the_order_in_which_they_first_ended(clock: list[float]) -> None:
    timings = Timings()
    for seconds in (1.0, 2.0):
        with timings("outer"), timings("inner"):
            clock[0] += seconds
    profile = timings.profile({"precision": "f32"})
    assert profile == Profile(
        wall_seconds=3.0,
        cpu_seconds=30.0,
        steps=(StepTime("inner", 3.0, 2), StepTime("outer", 3.0, 2)),
        engine={"precision": "f32"},
    )


def test_a_step_that_fails_counts_too(clock: list[float]) -> None:
    timings = Timings()
    with pytest.raises(ValueError, match="broken"), timings("step"):
        clock[0] += 4.0
        raise ValueError("broken")
    assert timings.profile({}).steps == (StepTime("step", 4.0, 1),)


def test_what_makes_items_is_timed_and_what_uses_them_is_not(clock: list[float]) -> None:
    def slow() -> Iterator[int]:
        for item in (1, 2):
            clock[0] += 1.0
            yield item

    timings = Timings()
    seen = []
    for item in timed(slow(), "making", timings):
        clock[0] += 100.0
        seen.append(item)
    assert seen == [1, 2]
    (step,) = timings.profile({}).steps
    assert step.seconds == 2.0


def test_threads_may_share_timings() -> None:
    timings = Timings()

    def work() -> None:
        for _ in range(500):
            with timings("step"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timings.profile({}).steps[0].calls == 2000


def test_the_table_names_every_step_and_the_engine(clock: list[float]) -> None:
    timings = Timings()
    with timings("decoding"):
        clock[0] += 1.0
    clock[0] += 3.0
    lines = timings.profile({"runtime": "openvino", "precision": "f32"}).table().splitlines()
    assert lines[1].split() == ["decoding", "1.000", "25%", "1"]
    assert lines[-1] == "runtime openvino, precision f32"


def test_nobody_listens_by_default() -> None:
    with no_timing("step"):
        pass
