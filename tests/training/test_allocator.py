from __future__ import annotations

import subprocess
import sys

import pytest

from slicewise.training.allocator import keep_freed_memory

# Page faults of a megabyte-sized block that is allocated, written and freed a hundred times.
FAULTS = """
import resource, sys
import torch
from slicewise.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work():
    for _ in range(100):
        torch.ones(12_000_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, choice], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    assert faults("keep") < 0.01 * faults("plain")


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"])
def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
