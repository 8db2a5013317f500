"""MR series of the same heads: T1, T2 and FLAIR contrasts from the tissue classes, as NIfTI, to test other tasks.

Signals are typical of 1.5 T spin echo (FLAIR nulls CSF); a smooth coil sensitivity and Rician noise are added. There is
no physics of sequences in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from threadpoolctl import threadpool_limits

from slicewise.errors import UsageError
from slicewise.phantom import head as tissues
from slicewise.phantom.artefacts import shading
from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.masks import write_nifti
from slicewise.phantom.noise import KERNELS
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.sampler import HeadLattice, Sampler
from slicewise.phantom.scanner import Detector
from slicewise.phantom.study import plan_study, stream

T1, T2, FLAIR = "t1", "t2", "flair"
_SIGNALS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        T1: {
            tissues.FAT: 950,
            tissues.SOFT_TISSUE: 380,
            tissues.BONE: 60,
            tissues.CSF: 140,
            tissues.GREY: 450,
            tissues.WHITE: 620,
            tissues.BLOOD: 480,
        },
        T2: {
            tissues.FAT: 600,
            tissues.SOFT_TISSUE: 300,
            tissues.BONE: 40,
            tissues.CSF: 1000,
            tissues.GREY: 520,
            tissues.WHITE: 380,
            tissues.BLOOD: 220,
        },
        FLAIR: {
            tissues.FAT: 700,
            tissues.SOFT_TISSUE: 320,
            tissues.BONE: 40,
            tissues.CSF: 60,
            tissues.GREY: 540,
            tissues.WHITE: 430,
            tissues.BLOOD: 720,
        },
    }
)
CONTRASTS = tuple(_SIGNALS)
_MR_STREAM = 200
_NOISE, _SENSITIVITY = 18.0, 0.12


@dataclass(frozen=True, eq=False)
class MrSeries:
    """An MR series of a phantom.

    Attributes:
        values: Signal, shape (slices, rows, columns).
        geometry: Where its slices lie: those of the CT study of the same seed and index.
        contrast: One of `CONTRASTS`.
    """

    values: Field
    geometry: ScanGeometry
    contrast: str


def generate_mr(seed: int, index: int, contrast: str, parameters: PhantomParameters | None = None) -> MrSeries:
    """Generates an MR series of the head of a study, in the slices of its CT.

    Args:
        seed: Seed of the data set.
        index: Number of the study in it.
        contrast: One of `CONTRASTS`.
        parameters: What can be chosen; None for the defaults.

    Raises:
        UsageError: If the contrast is unknown.
    """
    if contrast not in CONTRASTS:
        raise UsageError(f"contrast: '{contrast}' is not one of {', '.join(CONTRASTS)}")
    with threadpool_limits(1, user_api="blas"):
        planned = plan_study(seed, index, parameters or PhantomParameters(), tissue=True)
        rng = stream(seed, index, _MR_STREAM + CONTRASTS.index(contrast))
        signal = np.array([_SIGNALS[contrast].get(number, 0) for number in range(len(tissues.TISSUES))], np.float32)
        head, geometry = planned.head, planned.geometry
        sampler = Sampler(HeadLattice(head.hu.shape, head.origin_mm, head.spacing_mm), geometry, planned.warp)
        scene = np.zeros((geometry.slices, sampler.grid.size, sampler.grid.size), dtype=np.float32)
        scene[:, sampler.rows, sampler.columns] = sampler.sample(signal[head.tissue])
        scene *= 1 + np.float32(_SENSITIVITY) * shading(
            rng, scene.shape, (5.0, sampler.grid.step_mm, sampler.grid.step_mm)
        )
        values = Detector(geometry, KERNELS["standard"]).sees(scene)
        values += np.float32(_NOISE) * rng.standard_normal(values.shape, dtype=np.float32)
        rician = np.hypot(values, np.float32(_NOISE) * rng.standard_normal(values.shape, dtype=np.float32))
    return MrSeries(np.rint(rician), geometry, contrast)


def write_mr(path: Path, series: MrSeries) -> None:
    """Writes an MR series as one gzipped NIfTI file."""
    write_nifti(path, series.values.astype(np.int16), series.geometry)
