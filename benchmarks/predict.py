"""How long `slicewise predict` takes: cold from the shell, for every further study, and over many studies.

The floor of a study is a serial pydicom decode plus the networks' own time in the same runtime, measured in turn with
what is compared to it, so that a busy machine disturbs both. A further study is a copy of the scan with ids of its own
in one call, with CSV and JSON: decoding and preprocessing of the next one run beside the networks.

    python benchmarks/predict.py SCANS [--model MODEL] [--repeats 5] [--copies 8]
    slicewise phantom phantoms --studies 4 --matrix 64
    python benchmarks/predict.py SCANS --phantoms phantoms/dicom [--studies 10 1000] [--formats csv,json]

The second form also scores so many copies of the phantoms, each in a process of its own: studies per hour, peak memory,
and its ratio to that of the first number. Preprocessing, which the floor leaves out, has a line of its own. The cold
call is also timed with OpenVINO held to AVX2, as on a processor without AVX-512, bf16 and int8 units.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from slicewise import Detector, __version__
from slicewise.cli.predict_outputs import write_outputs
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import choose_series
from slicewise.inference.journal import Call, Journal, KeptStudies
from slicewise.inference.resumable import score_into
from slicewise.inference.timing import no_timing
from slicewise.package import DEFAULT_MODEL
from slicewise.progress import no_progress
from slicewise.results import Results
from slicewise.volume import Volume

SLICEWISE = str(Path(sys.executable).with_name("slicewise"))


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


AVX2_ALONE = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
"""Has an effect: bf16 kernels cannot be made with it, and the networks take longer."""


def run_command(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[float, float, float]:
    """Runs slicewise in a process and returns wall seconds, CPU seconds and peak memory in MiB."""
    started = time.perf_counter()
    command = [SLICEWISE, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 3}:
        raise SystemExit(f"slicewise {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def copy_study(files: list[Path], target: Path, number: int) -> None:
    """Writes the files of a study with the ids of another one."""
    target.mkdir(parents=True)
    for place, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = f"COPY-{number:06d}"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            uid = generate_uid(entropy_srcs=[f"{number}", str(getattr(dataset, keyword))])
            setattr(dataset, keyword, uid)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(target / f"{place:04d}.dcm")


def score_and_write(detector: Detector, scans: Path, output: Path, formats: tuple[str, ...]) -> None:
    """Does what the command does, without starting a process and loading a model."""
    call = Call((str(scans),), (), detector.package.digest, detector.runtime.name, __version__)
    with take_inventory([scans]) as inventory, Journal(output / "journal", call) as journal:
        keys = score_into(journal, detector, inventory)
        write_outputs(
            output,
            Results(detector.summary, (), tuple(inventory.rejections()), __version__),
            KeptStudies(journal, keys),
            task=detector.task,
            formats=formats,
            progress=no_progress,
            timer=no_timing,
        )


def report_cold(scans: Path, model: str, repeats: int, folder: Path) -> None:
    base = ("predict", str(scans), "--quiet", "--model", model, "--output", str(folder / "cold"))
    two, anew = ("--formats", "csv,json"), "--no-model-cache"
    cases: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
        ("csv,json,html, networks kept from before", (), {}),
        ("csv,json, networks kept from before", two, {}),
        ("csv,json, networks compiled", (*two, anew), {}),
        ("csv,json,html, networks compiled, AVX2", (anew,), AVX2_ALONE),
    )
    for name, options, environment in cases:
        runs = [run_command(*base, *options, environment=environment) for _ in range(repeats + 1)][1:]
        wall, processor, memory = map(statistics.median, zip(*runs, strict=True))
        print(f"cold, {name:42s} {wall:.2f} s, {processor:.2f} s CPU, {memory:.0f} MiB")


def report_warm(scans: Path, model: str, repeats: int, copies: int, folder: Path) -> None:
    files = sorted(path for path in scans.rglob("*") if path.is_file())
    for number in range(copies):
        copy_study(files, folder / "copies" / f"{number:04d}", number)
    detector = Detector.load(model)
    size, channels = detector.task.preprocessing.size, len(detector.task.channels)
    slices = sum(len(series.slices) for study in detector.predict(scans) for series in study.series)
    images = np.random.default_rng(0).random((slices, channels, size, size), dtype=np.float32)
    positions = np.arange(slices, dtype=np.float32)
    volume = first_volume(scans, detector)
    output = folder / "warm"
    output.mkdir()
    rounds = []
    for _ in range(repeats + 1):
        decode = seconds(lambda: [pydicom.dcmread(path).pixel_array for path in files])
        networks = seconds(lambda: detector.runtime.fuse(detector.runtime.encode(images), positions))
        prepared = seconds(lambda: preprocess(volume, detector.task.preprocessing))
        single = seconds(lambda: score_and_write(detector, scans, output, ("csv", "json")))
        many = seconds(lambda: score_and_write(detector, folder / "copies", output, ("csv", "json"))) / copies
        pages = seconds(lambda: score_and_write(detector, scans, output, ("csv", "json", "html"))) - single
        floor = decode + networks
        rounds.append((decode, networks, prepared, single, many, pages, many / floor, single / floor))
    medians = map(statistics.median, zip(*rounds[1:], strict=True))
    decode, networks, prepared, single, many, pages, ratio, ratio_single = medians
    print(f"floor of a study of {slices} slices: decode {decode:.3f} + networks {networks:.3f} s")
    print(f"preprocessing, not in the floor           {prepared:.3f} s")
    print(f"further study, of {copies} in one call, csv,json   {many:.3f} s, {ratio:.2f} times the floor")
    print(f"one study in a call of its own, csv,json  {single:.3f} s, {ratio_single:.2f} times the floor")
    print(f"report.html of a study, more              {pages:.3f} s")


def first_volume(scans: Path, detector: Detector) -> Volume:
    with take_inventory([scans]) as inventory:
        for study in inventory.studies():
            for decision in choose_series(study, detector.task.series):
                if decision.chosen:
                    return load_volume(decision.series)[0]
    raise SystemExit(f"{scans}: no series that the model reads")


def report_many(phantoms: Path, counts: list[int], formats: str, model: str, folder: Path) -> None:
    studies = [sorted(study.rglob("*.dcm")) for patient in sorted(phantoms.iterdir()) for study in patient.iterdir()]
    scans, made, least = folder / "many", 0, 0.0
    for count in sorted(counts):
        for number, files in islice(enumerate(cycle(studies)), made, count):
            copy_study(files, scans / f"{number // 100:04d}" / f"{number:06d}", number)
        made = count
        options = ("--quiet", "--formats", formats, "--model", model, "--output", str(folder / "of many"))
        wall, processor, memory = run_command("predict", str(scans), *options)
        least = least or memory
        ratio = f"{memory / least:.2f} times that of {min(counts)}"
        print(
            f"{count:5d} phantom studies, {formats}: {3600 * count / wall:7.0f} studies an hour, "
            f"{processor / count:.3f} s CPU a study, peak memory {memory:.0f} MiB, {ratio}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, help="one study")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--phantoms", type=Path, help="the folder dicom of `slicewise phantom`")
    parser.add_argument("--studies", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--formats", default="csv,json", help="of the phantom studies (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report_cold(arguments.scans, arguments.model, arguments.repeats, folder)
        report_warm(arguments.scans, arguments.model, arguments.repeats, arguments.copies, folder)
        if arguments.phantoms is not None:
            report_many(arguments.phantoms, arguments.studies, arguments.formats, arguments.model, folder)


if __name__ == "__main__":
    main()
