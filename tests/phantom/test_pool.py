from __future__ import annotations

import time
from pathlib import Path

from slicewise.phantom.pool import run_jobs

JOBS = 40


def work(path: Path) -> Path:
    time.sleep(0.02)
    path.touch()
    return path


def test_all_jobs_are_done_however_many_processes(tmp_path: Path) -> None:
    for workers in (1, 2):
        paths = [tmp_path / f"{workers}-{number}" for number in range(3)]
        assert sorted(run_jobs(work, paths, workers)) == paths
        assert all(path.exists() for path in paths)


def test_what_has_not_begun_is_left_when_nobody_waits(tmp_path: Path) -> None:
    found = run_jobs(work, [tmp_path / str(number) for number in range(JOBS)], 2)
    next(iter(found))
    found.close()  # type: ignore[attr-defined]  # a generator
    assert 1 <= len(list(tmp_path.iterdir())) < JOBS / 2
