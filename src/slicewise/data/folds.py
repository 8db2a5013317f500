"""Folds by patient for cross-validation: no patient is ever in two folds."""

from __future__ import annotations

from collections.abc import Mapping

from slicewise.data.split import split_patients
from slicewise.errors import DatasetError


def patient_folds(patients: Mapping[str, int], folds: int, seed: int) -> dict[str, int]:
    """Assigns every patient to a fold.

    The same patients give the same folds whatever their order. The sizes of the folds differ by one patient at most,
    over all patients and over those of every stratum.

    Args:
        patients: Stratum of every patient, as in 1 for patients with a positive slice.
        folds: Number of folds, at least 1.
        seed: Seeds the assignment.

    Returns:
        The fold of every patient, from 0 to `folds` - 1.

    Raises:
        DatasetError: If there are fewer patients than folds.
    """
    if len(patients) < folds:
        raise DatasetError(
            f"{len(patients)} patients are too few for {folds} folds, each of which needs one. Prepare more patients, "
            "or set split.folds to fewer"
        )
    shares = {str(fold): 1 / folds for fold in range(folds)}
    parts = split_patients(list(patients), shares, seed, patients)
    return {patient: int(fold) for patient, fold in parts.items()}
