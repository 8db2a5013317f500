"""What each mimic and each effect of the scanner does to a model: the same phantoms, plain and with one thing more.

The studies of a seed have the same brains, hemorrhages and noise whatever is switched on; only surgery moves blood to
where it was done. Scored are slices (`any`), with 95 % intervals from resamples of the patients; "flagged" is at the
model's own threshold.

    python benchmarks/phantom_effects.py MODEL [--studies 24] [--seed 1000] [--workers 2] [--only NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from slicewise.cli.common import terminal_progress
from slicewise.data.labels import UNKNOWN
from slicewise.evaluation.bootstrap import patient_multiplicities, percentile_interval, resample
from slicewise.evaluation.metrics import auroc
from slicewise.evaluation.sweep import Sweep
from slicewise.inference.detector import Detector
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.pool import run_jobs
from slicewise.phantom.study import generate_study
from slicewise.progress import Progress

MIMICS = tuple(name for name in MimicParameters.__struct_fields__ if name != "postoperative_air")
PLAIN = (
    "geometry.matrix=256",
    "geometry.spacing_mm=[5, 5]",
    *(f"geometry.{name}=0" for name in ("thin", "medium", "thick", "changing", "gap", "overlap", "tilted")),
    *(f"geometry.{name}=0" for name in ("pitch_degrees", "roll_degrees", "yaw_degrees", "off_center_mm")),
    *(f"geometry.{name}=0" for name in ("cut_bottom", "cut_top")),
    *(f"physics.{name}=0" for name in ("cupping", "hardening", "shading_hu", "offset_hu", "motion", "jump", "circle")),
    *(f"physics.{name}=0" for name in ("smooth", "sharp", "metal")),
    "physics.noise_hu=[2.5, 2.5]",
    "physics.starvation=[0, 0]",
    *(f"mimics.{name}=0" for name in MimicParameters.__struct_fields__),
)
SCANNER = {
    "noise of 4.2 HU": ("physics.noise_hu=[4.2, 4.2]",),
    "noise of 6 HU": ("physics.noise_hu=[6, 6]",),
    "smooth kernel": ("physics.smooth=1", "physics.standard=0"),
    "sharp kernel": ("physics.sharp=1", "physics.standard=0"),
    "cupping of 28 HU": ("physics.cupping=1", "physics.cupping_hu=[28, 28]"),
    "beam hardening": ("physics.hardening=1", "physics.hardening_strength=[0.5, 0.5]"),
    "photon starvation": ("physics.starvation=[0.8, 0.8]",),
    "shading": ("physics.shading_hu=2",),
    "calibration off by 8 HU (SD)": ("physics.offset_hu=8",),
    "motion": ("physics.motion=1",),
    "jump": ("physics.jump=1",),
    "circle of reconstruction": ("physics.circle=1",),
    "gantry tilted by 24 degrees": ("geometry.tilted=1", "geometry.tilt_degrees=[24, 24]"),
    "head turned (SD 9, 6, 9 degrees)": (
        "geometry.pitch_degrees=9",
        "geometry.roll_degrees=6",
        "geometry.yaw_degrees=9",
    ),
    "slices of 0.6 to 1.5 mm": ("geometry.thin=1",),
    "slices of 2 to 3.75 mm": ("geometry.medium=1",),
    "slices of 6 to 7.5 mm": ("geometry.thick=1",),
    "cut off at the vertex": ("geometry.cut_top=1",),
    "begins above the skull base": ("geometry.cut_bottom=1",),
    "metal (coil)": ("physics.metal=1", "mimics.coil=1"),
}

CONDITIONS = {"plain": (), **SCANNER, **{name.replace("_", " "): (f"mimics.{name}=1",) for name in MIMICS}}


@dataclass(frozen=True)
class Job:
    """One study under one condition."""

    model: str
    condition: str
    parameters: PhantomParameters
    seed: int
    index: int


@dataclass(frozen=True, eq=False)
class Scores:
    """Probability and truth of `any` of every slice of a study."""

    condition: str
    index: int
    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    patient: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or path of a model")
    parser.add_argument("--studies", type=int, default=24, help="studies of every condition (%(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the phantoms (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=CONDITIONS, metavar="NAME", help="these alone, beside plain")
    arguments = parser.parse_args()
    conditions = CONDITIONS
    if arguments.only:
        conditions = {name: conditions[name] for name in ("plain", *arguments.only)}
    jobs = [
        Job(arguments.model, name, override_parameters(PhantomParameters(), (*PLAIN, *changes)), arguments.seed, index)
        for name, changes in conditions.items()
        for index in range(arguments.studies)
    ]
    threshold = Detector.load(arguments.model).package.manifest.thresholds["any"]
    report(collect(jobs, arguments.workers, terminal_progress(quiet=False)), list(conditions), threshold)


def collect(jobs: Sequence[Job], workers: int, progress: Progress) -> dict[str, list[Scores]]:
    """Scores all studies, in the order of their numbers."""
    found: dict[str, list[Scores]] = {job.condition: [] for job in jobs}
    for scores in progress(run_jobs(score, jobs, workers), description="studies", total=len(jobs), unit="study"):
        found[scores.condition].append(scores)
    return {name: sorted(items, key=lambda item: item.index) for name, items in found.items()}


@cache
def detector(model: str) -> Detector:
    return Detector.load(model)


def score(job: Job) -> Scores:
    study = generate_study(job.seed, job.index, job.parameters)
    result = detector(job.model).predict_volume(study.volume)
    probabilities = np.array([item.probabilities["any"] for item in result.slices])
    return Scores(job.condition, job.index, probabilities, study.labels[:, 0], study.volume.patient_id)


def report(found: dict[str, list[Scores]], conditions: Sequence[str], threshold: float) -> None:
    print(
        "| what is added | slice AUROC, any | difference to plain | positive slices flagged | negative slices flagged |"
    )
    print("|---|---|---|---|---|")
    plain_value, plain_draws = ranking(found["plain"])
    for name in conditions:
        value, draws = ranking(found[name])
        low, high = percentile_interval(draws)
        difference = "" if name == "plain" else f"{value - plain_value:+.3f} {interval(draws - plain_draws, '+')}"
        probabilities = np.concatenate([item.probabilities for item in found[name]])
        labels = np.concatenate([item.labels for item in found[name]])
        flagged = [float((probabilities[labels == truth] >= threshold).mean()) for truth in (1, 0)]
        print(f"| {name} | {value:.3f} [{low:.3f}, {high:.3f}] | {difference} | {flagged[0]:.0%} | {flagged[1]:.1%} |")


def ranking(items: Sequence[Scores]) -> tuple[float, npt.NDArray[np.float64]]:
    """Returns the AUROC, and that of every resample of the patients; equal draws for every condition."""
    patients = {name: place for place, name in enumerate(dict.fromkeys(item.patient for item in items))}
    owners = np.concatenate([np.full(len(item.labels), patients[item.patient]) for item in items])
    probabilities = np.concatenate([item.probabilities for item in items])
    labels = np.concatenate([item.labels for item in items])
    known = labels != UNKNOWN
    statistic = Sweep.of(
        probabilities[known], labels[known].astype(np.float64), owners[known].astype(np.intp), len(patients)
    )
    draws = resample([statistic], patient_multiplicities(len(patients), 1000, seed=0))["auroc"]
    return auroc(probabilities[known], labels[known]), draws


def interval(draws: npt.NDArray[np.float64], sign: str) -> str:
    low, high = percentile_interval(draws)
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    main()
