"""How long the label file of the RSNA 2019 challenge takes at its full size, against merely parsing it.

The file is generated: 752,803 slices with six rows each and 24 rows that stand twice, 4,516,842 rows as in the
challenge. Merely parsing it is done with every CSV reader that is installed; the fastest counts.

python benchmarks/labels.py [--slices 752803] [--repeats 3]      compares also: pip install pyarrow pandas
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from slicewise.data.rsna import read_rsna
from slicewise.task import load_task

REPEATED_ROWS = 24
PREVALENCE = 0.05


def write_labels(path: Path, slices: int) -> None:
    """Writes a file in the form of stage_2_train.csv."""
    task = load_task("ich")
    rng = np.random.default_rng(0)
    numbers = rng.choice(16**9, size=slices, replace=False)
    values = (rng.random((slices, len(task.labels))) < PREVALENCE).astype(np.int8)
    summary = task.label_names.index("any")
    values[:, summary] = np.delete(values, summary, axis=1).max(axis=1)
    ids = [f"ID_{number:09x}_{name}" for number in numbers for name in task.label_names]
    frame = pl.DataFrame({"ID": ids, "Label": values.reshape(-1)})
    pl.concat([frame, frame[:REPEATED_ROWS]]).write_csv(path)


def parsers(path: Path) -> dict[str, Callable[[], object]]:
    """The CSV readers that are installed."""
    found: dict[str, Callable[[], object]] = {"polars": lambda: pl.read_csv(path)}
    if importlib.util.find_spec("pyarrow"):
        csv = importlib.import_module("pyarrow.csv")
        found["pyarrow"] = lambda: csv.read_csv(path)
    if importlib.util.find_spec("pandas"):
        pandas = importlib.import_module("pandas")
        found["pandas"] = lambda: pandas.read_csv(path)
    return found


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Returns the median of several runs."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=752_803)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "stage_2_train.csv"
        write_labels(path, arguments.slices)
        parsing = {name: seconds(call, arguments.repeats) for name, call in parsers(path).items()}
        ours = seconds(lambda: read_rsna(path, load_task("ich")), arguments.repeats)
    for name, taken in parsing.items():
        print(f"parse with {name:12} {taken:6.2f} s")
    print(f"slicewise, wide table   {ours:6.2f} s  {ours / min(parsing.values()):.2f} x the fastest parser")


if __name__ == "__main__":
    main()
