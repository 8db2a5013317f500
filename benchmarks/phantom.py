"""Speed of the phantom: seconds of processor time a study into a prepared dataset, and as DICOM of 512 x 512.

    python benchmarks/phantom.py --studies 10

One process, one thread. The first study, which loads the anatomy, is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from slicewise.phantom.dataset import write_phantom_dataset
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.phantom.writer import write_phantom
from slicewise.task import load_task

Result = TypeVar("Result")
ROUTINE = ("geometry.thin=0", "geometry.medium=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10, help="studies that are timed (%(default)s)")
    studies = parser.parse_args().studies
    coarse, fine = (_parameters(matrix) for matrix in (256, 512))
    generate_study(1, 0, coarse)
    task = load_task("ich")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        slices = _time("in memory, 256 x 256", studies, lambda: _generate(studies, coarse))
        _time("into a dataset, 256 x 256", studies, lambda: write_phantom_dataset(root / "a", studies, task, 1, coarse))
        _time("as DICOM, 512 x 512", studies, lambda: write_phantom(root / "b", studies, 1, "rsna", fine))
    print(f"{slices / studies:.1f} slices a study")


def _parameters(matrix: int) -> PhantomParameters:
    return override_parameters(PhantomParameters(), [f"geometry.matrix={matrix}", *ROUTINE])


def _generate(studies: int, parameters: PhantomParameters) -> int:
    return sum(generate_study(1, index, parameters).geometry.slices for index in range(studies))


def _time(name: str, studies: int, work: Callable[[], Result]) -> Result:
    started = time.process_time()
    result = work()
    print(f"{name}: {(time.process_time() - started) / studies:.2f} s a study")
    return result


if __name__ == "__main__":
    main()
