"""Splits by patient: no patient is ever in two parts."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slicewise.errors import DatasetError

SPLIT_NAMES = ("train", "test")
_ALL = 0


def split_patients(
    patients: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    strata: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Assigns every patient to a part.

    The same patients give the same parts whatever their order. Every part gets its exact share, rounded down or up, of
    all patients and of every stratum; without strata this is the largest-remainder method.

    Args:
        patients: Patient IDs; one that stands twice counts once.
        shares: Share of every part, which add up to 1.
        seed: Seeds the assignment.
        strata: Stratum of every patient, as in 1 for patients with a positive slice; None for one stratum.

    Returns:
        The part of every patient.

    Raises:
        ValueError: If a share is negative, or if the shares do not add up to 1.
    """
    if any(share < 0 for share in shares.values()) or not np.isclose(sum(shares.values()), 1.0):
        raise ValueError(f"shares must not be negative and must add up to 1, not {dict(shares)}")
    members: dict[int, list[str]] = {}
    for patient in sorted(set(patients)):
        members.setdefault(_ALL if strata is None else strata[patient], []).append(patient)
    if not members:
        return {}
    rng = np.random.default_rng(seed)
    order = sorted(members)
    counts = _round([len(members[stratum]) for stratum in order], list(shares.values()))
    assigned = {}
    for stratum, row in zip(order, counts, strict=True):
        parts = np.repeat(list(shares), row)
        for index, part in zip(rng.permutation(len(parts)), parts, strict=True):
            assigned[members[stratum][index]] = str(part)
    return dict(sorted(assigned.items()))


def extend_split(
    known: Mapping[str, str],
    patients: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    strata: Mapping[str, int],
) -> dict[str, str]:
    """Assigns patients to parts as `split_patients`, but patients that have a part keep it.

    The others are dealt so that each part comes as close to its share of all patients as they can bring it.

    Args:
        known: Part of every patient that has one.
        patients: All patients.
        shares: Share of every part, which add up to 1.
        seed: Seeds the assignment.
        strata: Stratum of every patient.

    Returns:
        The part of every patient of `patients`.
    """
    kept = {patient: known[patient] for patient in patients if patient in known}
    new = sorted(set(patients) - set(kept))
    if not kept or not new:
        return {**kept, **split_patients(new, shares, seed, strata)}
    counts = Counter(kept.values())
    wanted = {part: max(share * (len(kept) + len(new)) - counts[part], 0.0) for part, share in shares.items()}
    total = sum(wanted.values())
    dealt = split_patients(new, {part: count / total for part, count in wanted.items()}, seed, strata)
    return dict(sorted({**kept, **dealt}.items()))


def read_splits(path: Path) -> dict[str, str]:
    """Reads `splits.csv` of a prepared dataset: "train" or "test" for every patient.

    Raises:
        DatasetError: If it is missing or damaged, or if a patient stands twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [(row["patient_id"], row["split"]) for row in csv.DictReader(stream)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read, expected columns patient_id, split: {error}") from error
    for patient, split in rows:
        if split not in SPLIT_NAMES:
            raise DatasetError(f"{path}: patient {patient} has split '{split}'. Expected {' or '.join(SPLIT_NAMES)}")
    twice = [patient for patient, count in Counter(patient for patient, _ in rows).items() if count > 1]
    if twice:
        raise DatasetError(f"{path}: patient {twice[0]} stands twice. Expected one row for every patient")
    return dict(rows)


def _round(sizes: Sequence[int], shares: Sequence[float]) -> npt.NDArray[np.int64]:
    """Rounds sizes x shares down or up so that rows add up to `sizes` and column sums are rounded down or up too.

    Such a rounding always exists (Cox 1987, "A constructive procedure for unbiased controlled rounding"). Among them
    the one that rounds up the largest remainders is a vertex of a transportation polytope: a linear program finds it.

    Returns:
        Counts, shape (strata, parts).
    """
    from scipy.optimize import linprog

    exact = [[size * share for share in _fractions(shares)] for size in sizes]
    floors = np.array([[math.floor(cell) for cell in row] for row in exact], dtype=np.int64)
    remainders = np.array([[float(cell % 1) for cell in row] for row in exact])
    totals = [sum(column, Fraction(0)) for column in zip(*exact, strict=True)]
    lowest = np.array([math.floor(total) for total in totals]) - floors.sum(axis=0)
    highest = np.array([math.ceil(total) for total in totals]) - floors.sum(axis=0)
    of_rows = np.kron(np.eye(len(sizes)), np.ones(len(shares)))
    of_columns = np.kron(np.ones(len(sizes)), np.eye(len(shares)))
    solution = linprog(
        -remainders.ravel(),
        A_eq=of_rows,
        b_eq=np.array(sizes) - floors.sum(axis=1),
        A_ub=np.concatenate([of_columns, -of_columns]),
        b_ub=np.concatenate([highest, -lowest]),
        bounds=[(0, int(remainder > 0)) for remainder in remainders.ravel()],
        method="highs-ds",
    )
    assert solution.x is not None  # the remainders themselves fulfil every constraint
    counts: npt.NDArray[np.int64] = floors + np.rint(solution.x).astype(np.int64).reshape(floors.shape)
    return counts


def _fractions(shares: Sequence[float]) -> list[Fraction]:
    """Returns the shares as decimal fractions that add up to 1, so that 0.29 of 100 is 29."""
    fractions = [Fraction(share).limit_denominator(10**6) for share in shares]
    return [fraction / sum(fractions) for fraction in fractions]
