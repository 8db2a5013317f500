"""Runs jobs in several processes; what they give does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from slicewise.data.one_thread import use_one_thread
from slicewise.errors import SlicewiseError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Yields what the work gives of every job, in the order in which they end.

    Args:
        work: A function of a module, so that processes can find it.
        jobs: What it is called with.
        workers: Number of processes; 1 works in this one.

    Raises:
        SlicewiseError: If a worker process dies.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=use_one_thread) as pool:
            try:
                for future in as_completed([pool.submit(work, job) for job in jobs]):
                    yield future.result()
            finally:
                # After an interruption the pool would first do all the rest.
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise SlicewiseError(
            "A worker process ended early, most likely for lack of memory. Run again with fewer workers: "
            "the studies that are done are kept"
        ) from error
