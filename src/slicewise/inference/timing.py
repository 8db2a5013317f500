"""Where the time goes: work tells a `Timer` which step it is in, and the default one does not listen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeVar

import msgspec

from slicewise.text import aligned

Item = TypeVar("Item")


class Timer(Protocol):
    """Told of every step, by any thread."""

    def __call__(self, step: str) -> AbstractContextManager[None]:
        """Returns a context that lasts as long as the step does."""
        ...


def no_timing(step: str) -> AbstractContextManager[None]:
    """The deaf `Timer`."""
    del step
    return nullcontext()


def timed(items: Iterable[Item], step: str, timer: Timer) -> Iterator[Item]:
    """Yields the items; the time that it takes to make each counts for a step.

    >>> list(timed([1, 2], "counting", no_timing))
    [1, 2]
    """
    source = iter(items)
    while True:
        with timer(step):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item


class StepTime(msgspec.Struct, frozen=True):
    """How long one step took.

    Attributes:
        step: Name of the step.
        seconds: All its calls together. Steps of several threads run side by side, so the sum of all steps may exceed
            the time that passed.
        calls: How often it ran.
    """

    step: str
    seconds: float
    calls: int


class Profile(msgspec.Struct, frozen=True):
    """What `profile.json` holds.

    Attributes:
        wall_seconds: Time that passed.
        cpu_seconds: Time of all threads of the process on a core, since it started.
        steps: Every step, in the order in which they first ended.
        engine: How the networks ran, as precision and threads.
    """

    wall_seconds: float
    cpu_seconds: float
    steps: tuple[StepTime, ...]
    engine: dict[str, str]

    def table(self) -> str:
        """Returns the steps for the terminal, with their share of the time that passed."""
        rows = [("step", "seconds", "share", "calls")]
        for item in self.steps:
            share = item.seconds / self.wall_seconds if self.wall_seconds else 0.0
            rows.append((item.step, f"{item.seconds:.3f}", f"{share:.0%}", str(item.calls)))
        rows.append(("time that passed", f"{self.wall_seconds:.3f}", "100%", ""))
        rows.append(("on a core, since the process started", f"{self.cpu_seconds:.3f}", "", ""))
        engine = ", ".join(f"{name} {value}" for name, value in self.engine.items())
        return f"{aligned(rows, left=1)}\n{engine}".rstrip()


class Timings:
    """A `Timer` that adds up seconds and calls of every step. Its clock starts when it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._steps: dict[str, StepTime] = {}

    def __call__(self, step: str) -> AbstractContextManager[None]:
        """Returns a context that lasts as long as the step does."""
        return self._measured(step)

    def profile(self, engine: Mapping[str, str]) -> Profile:
        """Returns what was measured up to now.

        Args:
            engine: How the networks ran.
        """
        with self._lock:
            steps = tuple(self._steps.values())
        return Profile(time.perf_counter() - self._started, time.process_time(), steps, dict(engine))

    @contextmanager
    def _measured(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                before = self._steps.get(step, StepTime(step, 0.0, 0))
                self._steps[step] = StepTime(step, before.seconds + seconds, before.calls + 1)
