from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import find_peaks

from slicewise.phantom.anatomy import Anatomy, AnatomyParameters, sample_anatomy
from slicewise.phantom.brain import Brain, render_brain
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Field
from slicewise.phantom.folds import cortex, cut_folds, draw_folds
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.template import BRAIN_BOX

OFF = MimicParameters(**dict.fromkeys(MimicParameters.__struct_fields__, 0.0))


@lru_cache(maxsize=1)
def _anatomy() -> Anatomy:
    anatomy = sample_anatomy(np.random.default_rng(4), OFF, AnatomyParameters(age=(0.5, 0.5)))
    return replace(anatomy, folds=True, sulci=0.7, rim_mm=0.5, fold_mm=5.0, fold_gape_mm=0.0, fold_depth_mm=14.0)


def _brain(anatomy: Anatomy, seed: int = 0, pushes: tuple[Push, ...] = ()) -> tuple[Field, Brain]:
    return render_brain(anatomy, np.random.default_rng(seed), pushes)


def _convexity(
    brain: Brain, nearest: float = 3.0, deepest: float = 8.0
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((brain.wall_mm > nearest) & (brain.wall_mm < deepest) & (brain.grid.z > 20))


@lru_cache(maxsize=1)
def _usual() -> tuple[Field, Brain]:
    return _brain(_anatomy())


def _spacing(fold_mm: float) -> float:
    """Mean distance between sulci around the convexity, mm, along one axial plane."""
    inner = BRAIN_BOX.grid()
    effacement = np.zeros(BRAIN_BOX.shape, dtype=np.float32)
    folds = draw_folds(replace(_anatomy(), fold_mm=fold_mm), np.random.default_rng(1), inner, effacement)
    middle = np.full(BRAIN_BOX.shape, np.nan, dtype=np.float32)
    middle.reshape(-1)[folds.places] = folds.pial_mm
    x, y, z = inner.x, inner.y, inner.z
    plane = int(np.argmin(np.abs(z[:, 0, 0] - 30)))
    angles = np.linspace(-np.pi, np.pi, 1500)
    near = 0.85
    rows = (near * 87 * np.sin(angles) * np.sqrt(1 - (22 / 70) ** 2) - y[0, 0, 0]).round().astype(int)
    columns = (near * 67 * np.cos(angles) * np.sqrt(1 - (22 / 70) ** 2) - x[0, 0, 0]).round().astype(int)
    ring = middle[plane, rows, columns]
    assert np.isfinite(ring).mean() > 0.9
    sulci, _ = find_peaks(-np.nan_to_num(ring, nan=8.0), prominence=1.5)
    around = np.hypot(np.diff(rows), np.diff(columns)).sum() / near
    return float(around / len(sulci))


def test_sulci_lie_a_few_correlation_lengths_apart() -> None:
    """By Rice's formula zeros along a line lie pi correlation lengths apart; where two nearly meet, one is counted."""
    assert np.pi * 5.0 < _spacing(5.0) < 2 * np.pi * 5.0
    assert _spacing(3.5) < 0.85 * _spacing(6.5)


def test_two_heads_have_other_sulci() -> None:
    _, one = _usual()
    _, other = _brain(_anatomy(), seed=1)
    where = _convexity(one)
    apart = [float(np.corrcoef(one.csf[where], brain.csf[where])[0, 1]) for brain in (one, other)]
    assert apart[0] == pytest.approx(1)
    assert apart[1] < 0.4, apart


def test_sulci_stand_on_the_inner_table() -> None:
    """What is CSF at a depth of 4 mm is mostly CSF 3 mm deeper along the way to the middle, too."""
    _, brain = _usual()
    outer = (brain.csf > 0.5) & (brain.wall_mm > 3.5) & (brain.wall_mm < 4.5) & (brain.grid.z > 20)
    planes, rows, columns = np.nonzero(outer)
    points = np.stack([brain.grid.z[outer] - 8, brain.grid.y[outer], brain.grid.x[outer]])
    inward = -3 * points / np.linalg.norm(points, axis=0)
    deeper = [
        np.rint(at + move / step).astype(int)
        for at, move, step in zip((planes, rows, columns), inward, brain.grid.spacing_mm, strict=True)
    ]
    usual = float((brain.csf[_convexity(brain, 6.5, 7.5)] > 0.5).mean())
    assert (brain.csf[tuple(deeper)] > 0.5).mean() > max(2 * usual, 0.5)


def test_sulci_end_at_their_depth() -> None:
    def fluid(depth_mm: float) -> float:
        _, brain = _brain(replace(_anatomy(), fold_depth_mm=depth_mm))
        return float(brain.csf[_convexity(brain, 12.0, 15.0)].mean())

    assert fluid(6.0) < 0.7 * fluid(19.0)


def test_sulci_open_with_age_and_close_beside_a_mass() -> None:
    def fluid(anatomy: Anatomy, pushes: tuple[Push, ...] = ()) -> float:
        _, brain = _brain(anatomy, pushes=pushes)
        left = _convexity(brain) & (brain.grid.x > 10)
        return float(brain.csf[left].mean())

    usual = fluid(_anatomy())
    assert fluid(replace(_anatomy(), sulci=0.1)) < 0.4 * usual
    assert fluid(_anatomy(), (Push((40.0, 0.0, 36.0), (-10.0, 0.0, 0.0), 40.0),)) < 0.7 * usual


def test_cortex_lines_the_sulci_and_white_matter_fills_the_gyri() -> None:
    hu, brain = _usual()
    where = _convexity(brain, 6.0, 12.0) & (brain.csf == 0)
    sulcus = (brain.csf > 0.5) & (brain.wall_mm > 4)
    away = ndimage.distance_transform_edt(~sulcus, sampling=brain.grid.spacing_mm)
    ribbon, core = where & (away < 2.5), where & (away > 6.5)
    assert brain.white[ribbon].mean() < 0.6 * brain.white[core].mean()
    assert brain.white[core].mean() > 0.5
    assert hu[ribbon].mean() > hu[core].mean() + 2


def test_without_folds_the_template_alone_says_where_sulci_run() -> None:
    plain = replace(_anatomy(), folds=False)
    _, one = _brain(plain)
    _, other = _brain(replace(plain, fold_mm=3.6, fold_depth_mm=9.0))
    np.testing.assert_array_equal(one.csf, other.csf)
    _, folded = _usual()
    assert np.abs(folded.csf - one.csf).max() > 0.5


def test_folds_change_nothing_outside_their_shell() -> None:
    folds = draw_folds(
        _anatomy(), np.random.default_rng(1), BRAIN_BOX.grid(), np.zeros(BRAIN_BOX.shape, dtype=np.float32)
    )
    pial = np.full(BRAIN_BOX.shape, 20.0, dtype=np.float32)
    white = np.full(BRAIN_BOX.shape, 0.5, dtype=np.float32)
    cut_folds(folds, pial)
    cortex(folds, white, 0.0)
    outside = np.ones(pial.size, dtype=bool)
    outside[folds.places] = False
    assert (pial.reshape(-1)[outside] == 20).all()
    assert (white.reshape(-1)[outside] == 0.5).all()
    assert pial.min() < 0
    assert white.min() == 0
    assert white.max() <= 1
