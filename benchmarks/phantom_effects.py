"""What each mimic and each effect of the scanner does to a model: the same phantoms, plain and with one thing more.

The studies of a seed have the same brains, hemorrhages and noise whatever is switched on; only surgery moves blood to
where it was done. Scored are slices (`any`), with 95 % intervals from resamples of the patients; "flagged" is at the
model's own threshold. `--set` changes the phantoms of all conditions, such as to anatomies that training has not seen.
The JSON of `--output` is what `slicewise package --robustness` puts on a model's card.

    python benchmarks/phantom_effects.py MODEL [--studies 24] [--seed 1000] [--set KEY=VALUE ...] [--output FILE.json]
        [--workers 2] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.cli.common import terminal_progress
from slicewise.data.labels import UNKNOWN
from slicewise.evaluation.bootstrap import patient_multiplicities, resample
from slicewise.evaluation.evidence import Estimate, estimate
from slicewise.evaluation.model_card import Effect, EffectGroup, Robustness
from slicewise.evaluation.statistics import threshold_statistic
from slicewise.evaluation.sweep import Sweep
from slicewise.files import write_bytes_atomically
from slicewise.inference.detector import Detector
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.pool import run_jobs
from slicewise.phantom.study import PHANTOM_VERSION, generate_study
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
SCANNER: dict[EffectGroup, dict[str, tuple[str, ...]]] = {
    "noise": {
        "noise of 4.2 HU": ("physics.noise_hu=[4.2, 4.2]",),
        "noise of 6 HU": ("physics.noise_hu=[6, 6]",),
        "photon starvation": ("physics.starvation=[0.8, 0.8]",),
    },
    "kernel": {
        "smooth kernel": ("physics.smooth=1", "physics.standard=0"),
        "sharp kernel": ("physics.sharp=1", "physics.standard=0"),
    },
    "artefact": {
        "cupping of 28 HU": ("physics.cupping=1", "physics.cupping_hu=[28, 28]"),
        "beam hardening": ("physics.hardening=1", "physics.hardening_strength=[0.5, 0.5]"),
        "shading": ("physics.shading_hu=2",),
        "calibration off by 8 HU (SD)": ("physics.offset_hu=8",),
        "motion": ("physics.motion=1",),
        "jump": ("physics.jump=1",),
        "circle of reconstruction": ("physics.circle=1",),
        "metal (coil)": ("physics.metal=1", "mimics.coil=1"),
    },
    "tilt and position": {
        "gantry tilted by 24 degrees": ("geometry.tilted=1", "geometry.tilt_degrees=[24, 24]"),
        "head turned (SD 9, 6, 9 degrees)": (
            "geometry.pitch_degrees=9",
            "geometry.roll_degrees=6",
            "geometry.yaw_degrees=9",
        ),
        "cut off at the vertex": ("geometry.cut_top=1",),
        "begins above the skull base": ("geometry.cut_bottom=1",),
    },
    "thickness": {
        "slices of 0.6 to 1.5 mm": ("geometry.thin=1",),
        "slices of 2 to 3.75 mm": ("geometry.medium=1",),
        "slices of 6 to 7.5 mm": ("geometry.thick=1",),
    },
}
REFERENCE = "plain"
GROUPS: dict[EffectGroup, dict[str, tuple[str, ...]]] = {
    "reference": {REFERENCE: ()},
    **SCANNER,
    "mimic": {name.replace("_", " "): (f"mimics.{name}=1",) for name in MIMICS},
}
CONDITIONS = {name: changes for group in GROUPS.values() for name, changes in group.items()}
GROUP_OF = {name: group for group, conditions in GROUPS.items() for name in conditions}
METRICS = ("auroc", "sensitivity", "specificity")
RESAMPLES = 1000


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
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all phantoms")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also as JSON")
    arguments = parser.parse_args()
    package = Detector.load(arguments.model).package
    conditions = CONDITIONS
    if arguments.only:
        conditions = {name: conditions[name] for name in (REFERENCE, *arguments.only)}
    jobs = [
        Job(arguments.model, name, phantom(arguments.set, changes), arguments.seed, index)
        for name, changes in conditions.items()
        for index in range(arguments.studies)
    ]
    found = collect(jobs, arguments.workers, terminal_progress(quiet=False))
    changed = f", {'; '.join(arguments.set)}" if arguments.set else ""
    robustness = Robustness(
        model_digest=package.digest,
        data=f"{arguments.studies} phantom studies (version {PHANTOM_VERSION}, seed {arguments.seed}{changed})",
        command=shlex.join(("python", "benchmarks/phantom_effects.py", *sys.argv[1:])),
        effects=measure(found, package.manifest.thresholds["any"]),
    )
    if arguments.output is not None:
        write_bytes_atomically(arguments.output, msgspec.json.format(msgspec.json.encode(robustness), indent=1))
    report(robustness.effects)


def phantom(settings: Sequence[str], changes: Sequence[str]) -> PhantomParameters:
    """Returns plain phantoms with settings of all conditions, and with what one condition adds."""
    return override_parameters(PhantomParameters(), (*PLAIN, *settings, *changes))


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


def measure(found: dict[str, list[Scores]], threshold: float) -> tuple[Effect, ...]:
    """Measures every condition, and how far it lies from the plain phantoms."""
    plain_values, plain_draws = figures(found[REFERENCE], threshold)
    effects = []
    for name, items in found.items():
        values, draws = figures(items, threshold)
        difference = estimate(values["auroc"] - plain_values["auroc"], draws["auroc"] - plain_draws["auroc"])
        effects.append(
            Effect(
                name=name,
                group=GROUP_OF[name],
                difference=None if name == REFERENCE else difference,
                **{metric: estimate(values[metric], draws[metric]) for metric in values},
            )
        )
    return tuple(effects)


def figures(items: Sequence[Scores], threshold: float) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float64]]]:
    """Returns AUROC, sensitivity and specificity, and those of every resample of the patients.

    The draws are equal for every condition, so that their differences are paired.
    """
    patients = {name: place for place, name in enumerate(dict.fromkeys(item.patient for item in items))}
    owners = np.concatenate([np.full(len(item.labels), patients[item.patient], np.intp) for item in items])
    probabilities = np.concatenate([item.probabilities for item in items])
    labels = np.concatenate([item.labels for item in items])
    known = labels != UNKNOWN
    values, truth, owners = probabilities[known], labels[known].astype(np.float64), owners[known]
    statistics = (
        Sweep.of(values, truth, owners, len(patients)),
        threshold_statistic(values, truth, owners, len(patients), threshold),
    )
    whole = resample(statistics, np.ones((len(patients), 1), dtype=np.float32))
    draws = resample(statistics, patient_multiplicities(len(patients), RESAMPLES, seed=0))
    return {name: float(whole[name][0]) for name in METRICS}, {name: draws[name] for name in METRICS}


def report(effects: Sequence[Effect]) -> None:
    print(
        "| what is added | slice AUROC, any | difference to plain | positive slices flagged | negative slices flagged |"
    )
    print("|---|---|---|---|---|")
    for effect in effects:
        difference = "" if effect.difference is None else text(effect.difference, "+")
        sensitivity, specificity = effect.sensitivity.value, effect.specificity.value
        flagged = (
            "" if sensitivity is None else f"{sensitivity:.0%}",
            "" if specificity is None else f"{1 - specificity:.1%}",
        )
        print(f"| {effect.name} | {text(effect.auroc)} | {difference} | {flagged[0]} | {flagged[1]} |")


def text(found: Estimate, sign: str = "") -> str:
    if found.value is None:
        return "not defined"
    if found.low is None or found.high is None:  # too few patients with both kinds of slices
        return f"{found.value:{sign}.3f}"
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


if __name__ == "__main__":
    main()
