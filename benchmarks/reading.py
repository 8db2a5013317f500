"""How fast DICOM is read, against plain loops with pydicom on the same files in the same run.

Decoding: files -> Hounsfield units, as `slicewise predict` does it (headers, order, decoding with 2 threads), against
dcmread + pixel_array + rescale, in one process and in two.
Header scan: what `slicewise inspect` reads, against dcmread + pixel_array in one process.

python benchmarks/reading.py SCANS [--copies 10] [--repeats 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom

from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume


def hounsfield_units(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array.astype(np.float32)
    values *= float(dataset.RescaleSlope)
    values += float(dataset.RescaleIntercept)


def plain_loop(paths: Sequence[Path]) -> None:
    for path in paths:
        hounsfield_units(path)


def loop_with_pixels(paths: Sequence[Path]) -> None:
    for path in paths:
        pydicom.dcmread(path).pixel_array  # noqa: B018 - decoding is what is timed


def read_volumes(folder: Path) -> None:
    with take_inventory([folder]) as inventory:
        for study in inventory.studies():
            for series in study.series:
                load_volume(series, workers=2)


def scan_headers(folder: Path) -> None:
    with take_inventory([folder]) as inventory:
        for _ in inventory.studies():
            pass


def rate(call: Callable[[], object], slices: int, repeats: int) -> float:
    """Slices a second, the median of several runs after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return slices / statistics.median(seconds)


def copies_of(scans: Path, folder: Path, copies: int) -> list[Path]:
    """Copies a series under new Series Instance UIDs: one scan alone is read too quickly to be timed."""
    paths = []
    for source in sorted(path for path in scans.rglob("*") if path.is_file()):
        dataset = pydicom.dcmread(source)
        series_uid = str(dataset.SeriesInstanceUID)
        for copy in range(copies):
            path = folder / str(copy) / source.name
            path.parent.mkdir(exist_ok=True)
            dataset.SeriesInstanceUID = f"{series_uid[:60]}.{copy}"
            dataset.save_as(path)
            paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, help="folder with one uncompressed CT series")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copies"
        folder.mkdir()
        paths = copies_of(arguments.scans, folder, arguments.copies)
        halves = [paths[::2], paths[1::2]]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            two = rate(lambda: pool.map(plain_loop, halves, chunksize=1), len(paths), arguments.repeats)
        one = rate(lambda: plain_loop(paths), len(paths), arguments.repeats)
        ours = rate(lambda: read_volumes(folder), len(paths), arguments.repeats)
        pixels = rate(lambda: loop_with_pixels(paths), len(paths), arguments.repeats)
        headers = rate(lambda: scan_headers(folder), len(paths), arguments.repeats)
        shutil.rmtree(folder)
    print(f"{len(paths)} slices; slices a second, median of {arguments.repeats} runs")
    print(f"decode  pydicom loop to HU, 1 process    {one:8.0f}")
    print(f"decode  pydicom loop to HU, 2 processes  {two:8.0f}")
    print(f"decode  slicewise, files to volumes      {ours:8.0f}  {ours / one:.2f} x one, {ours / two:.2f} x two")
    print(f"headers pydicom loop with pixels         {pixels:8.0f}")
    print(f"headers slicewise                        {headers:8.0f}  {headers / pixels:.2f} x")


if __name__ == "__main__":
    main()
