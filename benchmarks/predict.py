"""How long `slicewise predict` takes on a folder: cold from the shell, and for a further study in the same process.

The floor is a serial pydicom decode plus the networks' own time in the same runtime, measured in the same run.

python benchmarks/predict.py SCANS [--model MODEL] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from slicewise import Detector
from slicewise.package import DEFAULT_MODEL


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.scans.rglob("*") if path.is_file())
    detector = Detector.load(arguments.model)
    size, channels = detector.task.preprocessing.size, len(detector.task.channels)
    slices = sum(len(series.slices) for study in detector.predict(arguments.scans) for series in study.series)
    images = np.zeros((slices, channels, size, size), dtype=np.float32)

    def cold() -> None:
        with tempfile.TemporaryDirectory() as output:
            command = [str(Path(sys.executable).with_name("slicewise")), "predict", str(arguments.scans), "--quiet"]
            subprocess.run(
                [*command, "--model", str(arguments.model), "--output", output], check=True, capture_output=True
            )

    def network() -> None:
        encoded = detector.runtime.encode(images)
        detector.runtime.fuse(encoded, np.arange(slices, dtype=np.float32))

    whole = median_seconds(cold, arguments.repeats)
    warm = median_seconds(lambda: list(detector.predict(arguments.scans)), arguments.repeats)
    decode = median_seconds(lambda: [pydicom.dcmread(path).pixel_array for path in files], arguments.repeats)
    networks = median_seconds(network, arguments.repeats)
    floor = decode + networks
    print(f"slices                                  {slices}")
    print(f"cold, shell prompt to exit, all formats {whole:.3f} s")
    print(f"warm, one more study, without writing   {warm:.3f} s")
    print(
        f"floor: decode {decode:.3f} + networks {networks:.3f} = {floor:.3f} s; warm is {warm / floor:.2f} times that"
    )


if __name__ == "__main__":
    main()
