"""Peak memory of `slicewise prepare` as the number of series grows: it must not.

Phantom series are written once and prepared twice, the first of them and all of them, each time in a process of its
own. Peak memory is that of the largest process, as the operating system counts it.

python benchmarks/prepare.py [--few 50] [--many 1000] [--matrix 64] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from slicewise.cli.main import main as slicewise
from slicewise.phantom.parameters import GeometryParameters, PhantomParameters
from slicewise.phantom.writer import write_phantom


def measure(arguments: Sequence[str]) -> float:
    """Runs a command and returns the peak memory of its process in MiB."""
    if slicewise(arguments) != 0:
        raise SystemExit(f"slicewise {' '.join(arguments)} failed")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(output: Path, images: Sequence[Path], labels: Path) -> tuple[float, float]:
    """Returns peak memory in MiB and seconds."""
    started = time.perf_counter()
    call = ["prepare", str(output), "--layout", "table", "--labels", str(labels), "--workers", "1", "--quiet"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(measure, ([*call, "--images", *map(str, images)],))
    return peak, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--matrix", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="keep the phantom here, and use it again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        phantom = arguments.folder or Path(temporary) / "phantom"
        parameters = PhantomParameters(geometry=GeometryParameters(matrix=arguments.matrix))
        write_phantom(phantom, arguments.many, 0, "clinical", parameters, workers=2)
        patients = sorted((phantom / "dicom").iterdir())
        labels = phantom / "labels.csv"
        few, _ = prepare(Path(temporary) / "few", patients[: arguments.few], labels)
        many, seconds = prepare(Path(temporary) / "many", patients, labels)
    print(f"peak memory for {arguments.few} patients   {few:6.0f} MiB")
    print(f"peak memory for {len(patients)} patients  {many:6.0f} MiB  {many / few:.2f} x")
    print(f"{len(patients)} patients in {seconds:.0f} s")


if __name__ == "__main__":
    main()
