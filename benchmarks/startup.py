"""How long `slicewise --help` takes, beside an empty Python process, in one run.

python benchmarks/startup.py [--repeats 10]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def seconds(command: list[str], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first run fills the file cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    empty = seconds([sys.executable, "-c", "pass"], repeats)
    help_page = seconds([str(Path(sys.executable).with_name("slicewise")), "--help"], repeats)
    print(f"empty Python process  {empty:.3f} s")
    print(f"slicewise --help      {help_page:.3f} s, {help_page / empty:.1f} times as long")


if __name__ == "__main__":
    main()
