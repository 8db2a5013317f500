"""What a model loses on slices thinner or thicker than those it learned from: the same heads, scanned again and again.

    python benchmarks/thickness.py OUT --models RUN [RUN ...] [--studies 45] [--workers 1] [--thicknesses 0.6 7.5 ...]

Prints a table and writes it to OUT/thickness.md, and with all digits to OUT/thickness.csv. A second call does only what
is missing; models may be added, and studies. The models are a run and its baseline, say: of one task, on a grid of
`phantom_benchmark.toml`. Two models and 45 heads take about 12 minutes on one core and 1.5 GB of memory a worker.

The studies have the mix and the matrix of the frozen benchmark and a seed of their own, so other heads. Between
thicknesses only thickness and spacing of the slices change, which are equal; head, blood, pose, field of view, range of
the scan, kernel, dose, cupping and hardening stay. The noise is drawn anew; its variance goes with 1 / thickness. Off
is what the phantom draws slice by slice whatever the thickness, and what would differ by 3 HU and more between two
scans of a head: drift (`shading_hu`), streaks of starved rays and of metal; motion and jumps too, which begin at a
slice. So the heads are a little easier than those of the benchmark.

What the package makes of thickness, and so what there is to lose:
- Below 2/3 of `slab_mm` (5 mm), `imaging/preprocess.py` averages slices side by side to slabs of about 5 mm: 8 of
  0.6 mm, 5 of 1 mm, 4 of 1.25 mm, 2 of 2.5 mm. The network sees 4.8 to 5 mm with the noise of 5 mm, and every slice of
  a slab gets its probability. What differs is the label: a dot in two of eight slices marks two, the slab is one.
- From 3.75 mm on slices stay as they are: noisier or with more partial volume than in training, no fewer channels.
- Axial fusion knows positions in mm: the distances to the neighbours tell it how far apart slices are.

Two views, as the labels of slices depend on their thickness too. *Own slices*: every series with its own labels, what
`slicewise evaluate` says. *At 5 mm*: at every position of the 5 mm scan, its label beside the probability of the
nearest slice; and for studies, the 5 mm label beside the highest probability of all slices. There the truth is the
same, and differences to 5 mm are paired. But what the network saw there, a slice or a slab, lies up to 2.5 mm beside
those positions (half a slice from 6 mm on). What that alone costs the row of 4.8 mm tells: images like those of 5 mm,
at places that drift through the reference's. In brackets: 95 % intervals from resampled patients.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from phantom_benchmark import GRIDS, call, read_frozen, task_file

from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import Difference, Differences, Estimate, Metrics
from slicewise.evaluation.prediction_files import read_predictions
from slicewise.evaluation.predictions import PredictionTable
from slicewise.files import write_atomically, write_bytes_atomically
from slicewise.package import ModelPackage, load_package
from slicewise.task import Task, load_task

SEED = 7311
REFERENCE = 5.0
CONTROL = 4.8
THICKNESSES = (0.6, 1.0, 1.25, 2.5, 3.75, CONTROL, REFERENCE, 6.0, 7.5)
PLAIN = (
    *(f"geometry.{name}=0" for name in ("thin", "medium", "thick", "changing", "gap", "overlap")),
    *(f"physics.{name}=0" for name in ("motion", "jump", "shading_hu", "metal")),
    "physics.starvation=[0, 0]",
)
OWN, AT_REFERENCE = "own slices", "at 5 mm"
LOSS, SLICES, STUDIES = "weighted log loss", "slice AUROC", "study AUROC"
METRICS = (LOSS, SLICES, STUDIES)


class Row(NamedTuple):
    """One metric of one model at one thickness; the difference is to 5 mm, None where it is not paired."""

    model: str
    thickness: float
    view: str
    metric: str
    estimate: Estimate | Difference
    difference: Difference | Estimate | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for datasets, predictions and tables")
    parser.add_argument("--models", nargs="+", required=True, metavar="RUN", help="run folders, packages or names")
    parser.add_argument("--studies", type=int, default=45, help="heads, the same at each thickness (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that generate (%(default)s)")
    parser.add_argument(
        "--thicknesses", nargs="+", type=float, default=THICKNESSES, metavar="MM", help="beside 5 mm (%(default)s)"
    )
    arguments = parser.parse_args()
    models = {Path(model).name: model for model in arguments.models}
    if len(models) < len(arguments.models):
        parser.error(f"--models: the last parts of the paths must differ, not {', '.join(arguments.models)}")
    packages = {name: load_package(model) for name, model in models.items()}
    task = task_of(packages, arguments.output)
    thicknesses = sorted({REFERENCE, *arguments.thicknesses})
    for thickness in thicknesses:
        dataset = make_dataset(arguments.output, task, thickness, arguments.studies, arguments.workers)
        for name, model in models.items():
            folder = folder_of(arguments.output, name, thickness)
            if not is_scored(folder, packages[name], arguments.studies):
                call("evaluate", model, dataset, "--split", "all", "--output", folder)
    found = {name: list(measure(arguments.output, name, thicknesses, load_task(str(task)))) for name in models}
    slices = {thickness: count_slices(arguments.output, next(iter(models)), thickness) for thickness in thicknesses}
    write(arguments.output, found, slices)


def task_of(packages: Mapping[str, ModelPackage], output: Path) -> Path:
    """Writes the task whose grid the models have; returns its file."""
    wanted = {package.manifest.preprocessing_digest for package in packages.values()}
    for grid in GRIDS:
        path = task_file(output, grid)
        if wanted == {load_task(str(path)).preprocessing.digest()}:
            return path
    raise SystemExit(f"{', '.join(packages)}: not all of one grid, {' or '.join(GRIDS)}, of the phantom benchmark")


def make_dataset(output: Path, task: Path, thickness: float, studies: int, workers: int) -> Path:
    """Scans the heads with slices of one thickness, or those that are missing; returns the dataset."""
    frozen = read_frozen()
    dataset = output / f"{task.stem}-{thickness:g}mm"
    settings = (*PLAIN, f"geometry.spacing_mm=[{thickness}, {thickness}]")
    call(
        "phantom", dataset, "--dataset", "--studies", studies, "--seed", SEED, "--preset", frozen["preset"],
        "--matrix", frozen["matrix"], "--task", task, "--workers", workers,
        *(f"--set={setting}" for setting in settings),
    )  # fmt: skip
    return dataset


def folder_of(output: Path, name: str, thickness: float) -> Path:
    return output / "evaluation" / name / f"{thickness:g}mm"


def is_scored(folder: Path, package: ModelPackage, studies: int) -> bool:
    """Whether an earlier call scored these studies with this very model."""
    if not (folder / "metrics.json").is_file():
        return False
    found = read_metrics(folder)
    return found.n_studies == studies and found.model["digest"] == package.digest


def read_metrics(folder: Path) -> Metrics:
    return msgspec.json.decode((folder / "metrics.json").read_bytes(), type=Metrics)


def count_slices(output: Path, name: str, thickness: float) -> str:
    counts = next(iter(read_metrics(folder_of(output, name, thickness)).counts["slice"].values()))
    return f"{counts.positive + counts.negative + counts.unknown:,} ({counts.positive:,})"


def measure(output: Path, name: str, thicknesses: Sequence[float], task: Task) -> Iterator[Row]:
    """Yields every metric of a model."""
    label = task.label_names[task.main_index]
    reference = read_predictions(folder_of(output, name, REFERENCE) / "predictions.csv", None, task)
    for thickness in thicknesses:
        folder = folder_of(output, name, thickness)
        own = read_metrics(folder)
        for metric in METRICS:
            yield Row(name, thickness, OWN, metric, pick(own, own, metric, label), None)
        nearest, highest = at_positions_of(reference, read_predictions(folder / "predictions.csv", None, task))
        values = evaluate(nearest, task), evaluate(highest, task)
        differences = compare(nearest, reference, task), compare(highest, reference, task)
        for metric in METRICS:
            difference = None if thickness == REFERENCE else pick(*differences, metric, label)
            yield Row(name, thickness, AT_REFERENCE, metric, pick(*values, metric, label), difference)


def at_positions_of(reference: PredictionTable, table: PredictionTable) -> tuple[PredictionTable, PredictionTable]:
    """Puts other probabilities beside the labels of 5 mm: of the nearest slice, and the highest of the series."""
    rows_of = rows_by_series(table)
    nearest, highest = np.empty_like(reference.probabilities), np.empty_like(reference.probabilities)
    for series, rows in rows_by_series(reference).items():
        own = rows_of[series]
        distance = np.abs(reference.positions_mm[rows][:, None] - table.positions_mm[own][None, :])
        nearest[rows] = table.probabilities[own[distance.argmin(axis=1)]]
        highest[rows] = table.probabilities[own].max(axis=0)
    return replace(reference, probabilities=nearest), replace(reference, probabilities=highest)


def rows_by_series(table: PredictionTable) -> dict[str, npt.NDArray[np.intp]]:
    series = np.array(table.series_uids)
    return {name: np.flatnonzero(series == name) for name in dict.fromkeys(table.series_uids)}


def pick(
    of_slices: Metrics | Differences, of_studies: Metrics | Differences, metric: str, label: str
) -> Estimate | Difference:
    if metric == LOSS:
        return of_slices.weighted_log_loss
    return of_slices.slice[label]["auroc"] if metric == SLICES else of_studies.study[label]["auroc"]


def write(output: Path, found: Mapping[str, Sequence[Row]], slices: Mapping[float, str]) -> None:
    """Prints the tables and writes them."""
    rows = [row for of_model in found.values() for row in of_model]
    with write_atomically(output / "thickness.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        ends = ("", "_low", "_high")
        numbers = [f"{name}{end}" for name in ("value", "difference_to_5mm") for end in ends]
        writer.writerow(("model", "thickness_mm", "view", "metric", *numbers))
        for row in rows:
            difference = row.difference or Estimate(None, None, None)
            values = (*msgspec.structs.astuple(row.estimate), *msgspec.structs.astuple(difference))
            writer.writerow((row.model, row.thickness, row.view, row.metric, *values))
    cells = {(row.model, row.thickness, row.view, row.metric): row for row in rows}
    lines = ["| mm | slices (with blood) | own slices | " + " | ".join(METRICS) + " |", "|---" * 6 + "|"]
    lines += [
        f"| {thickness:g} | {slices[thickness]} | {name} | "
        + " | ".join(text(cells[name, thickness, OWN, metric].estimate) for metric in METRICS)
        + " |"
        for thickness in slices
        for name in found
    ]
    lines += ["", "| mm | at 5 mm | " + " | ".join(f"{metric} | - 5 mm" for metric in METRICS) + " |", "|---" * 8 + "|"]
    for thickness in slices:
        for name in found:
            line = f"| {thickness:g} | {name} |"
            for metric in METRICS:
                row = cells[name, thickness, AT_REFERENCE, metric]
                line += f" {text(row.estimate)} | {text(row.difference, '+') if row.difference else ''} |"
            lines.append(line)
    table = "\n".join(lines) + "\n"
    write_bytes_atomically(output / "thickness.md", table.encode())
    print(table, end="")


def text(estimate: Estimate | Difference, sign: str = "") -> str:
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.3f}"
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


if __name__ == "__main__":
    main()
