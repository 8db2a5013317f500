from __future__ import annotations

import numpy as np
import pytest

import odd_scans
from slicewise.imaging.preprocess import preprocess
from slicewise.inference.prepare import unscored_series
from slicewise.results import UNLIKE_TRAINING, SeriesResult
from slicewise.task import load_task
from slicewise.volume import Volume
from synthetic_head import Head

TASK = load_task("ich")


def unscored(volume: Volume) -> SeriesResult:
    return unscored_series(volume, preprocess(volume, TASK.preprocessing), TASK)


@pytest.mark.parametrize(("spacing_mm", "together"), [(1.0, 5), (2.5, 2)])
def test_thin_slices_are_told(spacing_mm: float, together: int) -> None:
    slices = round(120 / spacing_mm)
    series = unscored(Head(spacing_mm=spacing_mm, slices=slices, matrix=96, pixel_mm=(2.2, 2.2)).volume())
    (message,) = (warning.message for warning in series.warnings if warning.code == "thin_slices")
    assert message.startswith(f"The slices are {spacing_mm:g} mm apart; about {together} neighbouring ones")


def test_slices_as_thick_as_slabs_are_not_told() -> None:
    assert [warning.code for warning in unscored(Head().volume()).warnings] == []


def test_why_a_scan_is_unlike_stands_before_the_other_warnings() -> None:
    series = unscored(odd_scans.volume_of(odd_scans.noise(np.random.default_rng(0)), spacing_mm=1.0))
    assert series.unlike_training
    codes = [warning.code for warning in series.warnings]
    assert codes[0] == UNLIKE_TRAINING
    assert "thin_slices" in codes
