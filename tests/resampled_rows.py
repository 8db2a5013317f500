"""The plain reference of a resample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.bootstrap import Draws

Indices = npt.NDArray[np.intp]


def drawn_rows(patients: Indices, draws: Draws, index: int) -> Indices:
    """Returns every row as often as its patient was drawn in one resample."""
    drawn = np.repeat(np.arange(len(draws)), draws[:, index].astype(int))
    return np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
