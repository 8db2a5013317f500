"""How often the phantom bleeds: prevalence of slices and series, slices and thickness, against figures of RSNA 2019.

    python benchmarks/prevalence.py [--preset clinical] [--studies 400] [--seed 1] [--workers 2]

The share of every label comes with its 95 % interval (patients resampled).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.cli.common import terminal_progress
from slicewise.data.labels import UNKNOWN
from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.phantom.labels import LABELS
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.pool import run_jobs
from slicewise.phantom.prevalence import PRESETS
from slicewise.phantom.study import generate_study, patient_index

# Of the 674,258 slices of the training set of the RSNA 2019 challenge.
RSNA = {
    "any": 0.144,
    "epidural": 0.004,
    "intraparenchymal": 0.048,
    "intraventricular": 0.035,
    "subarachnoid": 0.048,
    "subdural": 0.063,
}


@dataclass(frozen=True)
class Job:
    """One study."""

    seed: int
    index: int
    parameters: PhantomParameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="clinical", help="(%(default)s)")
    parser.add_argument("--studies", type=int, default=400, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    arguments = parser.parse_args()
    settings = ("geometry.matrix=128", f"hemorrhage.preset={arguments.preset}")
    parameters = override_parameters(PhantomParameters(), settings)
    jobs = [Job(arguments.seed, index, parameters) for index in range(arguments.studies)]
    progress = terminal_progress(quiet=False)
    found = run_jobs(labels_of, jobs, arguments.workers)
    studies = dict(progress(found, description="studies", total=len(jobs), unit="study"))
    patients = [patient_index(arguments.seed, index, parameters) for index in sorted(studies)]
    report([studies[index] for index in sorted(studies)], np.array(patients))


def labels_of(job: Job) -> tuple[int, npt.NDArray[np.int8]]:
    return job.index, generate_study(job.seed, job.index, job.parameters).labels


def report(studies: list[npt.NDArray[np.int8]], patients: npt.NDArray[np.int64]) -> None:
    slices = [len(labels) for labels in studies]
    positive = np.mean([(labels[:, 0] == 1).any() for labels in studies])
    unknown = sum(int((labels == UNKNOWN).any(axis=1).sum()) for labels in studies)
    print(f"{len(studies)} studies, {sum(slices)} slices (median {np.median(slices):.0f} a study)")
    print(f"positive studies {positive:.1%}, slices with a borderline label {unknown / sum(slices):.1%}")
    print("| label | positive slices | RSNA 2019 |\n|---|---|---|")
    owners = np.unique(patients, return_inverse=True)[1]
    draws = patient_multiplicities(int(owners.max()) + 1, 1000, seed=0)[owners].T.astype(np.float64)
    for place, name in enumerate(LABELS):
        positives = np.array([(labels[:, place] == 1).sum() for labels in studies])
        known = np.array([(labels[:, place] != UNKNOWN).sum() for labels in studies])
        shares = (draws @ positives) / (draws @ known)
        low, high = np.quantile(shares, (0.025, 0.975))
        print(f"| {name} | {positives.sum() / known.sum():.4f} [{low:.4f}, {high:.4f}] | {RSNA[name]:.3f} |")


if __name__ == "__main__":
    main()
