"""What the shading correction and the head box of preprocess cost, and that the fast form equals the plain one.

Processor time on one core a 512 x 512 slice: of preprocess without either, and of each beside it. The plain form of the
correction (tests/plain_shading.py) works on every pixel of the network input. The series is made of ellipsoids, or read
from a folder.

OMP_NUM_THREADS=1 python benchmarks/preprocess.py [SCANS] [--repeats 5] [--size 208] [--pixel 1.0]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from plain_shading import plain_field
from slicewise.imaging.geometry import median_spacing_mm
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import choose_series
from slicewise.imaging.shading import correct_shading
from slicewise.task import PreprocessingParameters, load_task
from slicewise.volume import Volume
from synthetic_head import Head

LIMITS = {"limit_hu": 40.0, "deep_hu": 30.0, "deep_limit_hu": 8.0}


def synthetic() -> Volume:
    head = Head(matrix=512, pixel_mm=(0.45, 0.45), center_mm=(112.0, 118.0), slices=33, lowest_mm=-85.0, excess_hu=20.0)
    return head.volume()


def first_series(path: Path) -> Volume:
    task = load_task("ich")
    with take_inventory([path]) as inventory:
        for study in inventory.studies():
            for decision in choose_series(study, task.series):
                if decision.chosen:
                    return load_volume(decision.series)[0]
    raise SystemExit(f"{path}: no head CT found")


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=208)
    parser.add_argument("--pixel", type=float, default=1.0)
    arguments = parser.parse_args()
    volume = synthetic() if arguments.scans is None else first_series(arguments.scans)
    plain = PreprocessingParameters(
        pixel_mm=arguments.pixel, size=arguments.size, slab_mm=5.0, body_threshold=-200.0, opening_mm=8.0
    )
    changed = msgspec.structs.replace
    boxed = changed(plain, head_box="skull")
    both = changed(boxed, cupping_limit_hu=40.0, deep_brain_limit_hu=8.0)
    print(f"{volume.values.shape[0]} slices of {volume.values.shape[1]} x {volume.values.shape[2]}, ms a slice")
    for name, parameters in (("neither", plain), ("head box", boxed), ("head box, correction", both)):
        taken = milliseconds(lambda parameters=parameters: preprocess(volume, parameters), arguments.repeats)  # type: ignore[misc]
        print(f"preprocess, {name:22} {taken / len(volume.values):6.2f}")
    prepared = preprocess(volume, boxed)
    values = prepared.values.astype(np.float32)
    spacing = median_spacing_mm(prepared.positions_mm) or plain.slab_mm

    def fast() -> object:
        return correct_shading(values, prepared.positions_mm, plain.pixel_mm, **LIMITS)

    def slow() -> object:
        return plain_field(values, spacing, plain.pixel_mm, **LIMITS)

    print(f"correction alone, fast             {milliseconds(fast, arguments.repeats) / len(values):6.2f}")
    print(f"correction alone, plain            {milliseconds(slow, 1) / len(values):6.2f}")
    result, cupping = correct_shading(values, prepared.positions_mm, plain.pixel_mm, **LIMITS)
    print(cupping)
    if np.ptp(np.diff(prepared.positions_mm)) < 0.1:  # the plain form knows even spacing only
        difference = np.abs(result - values - plain_field(values, spacing, plain.pixel_mm, **LIMITS))
        print(f"fast - plain, mean where brain is {difference[(values > 10) & (values < 60)].mean():6.2f} HU")


if __name__ == "__main__":
    main()
