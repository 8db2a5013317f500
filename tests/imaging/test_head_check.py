from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
import pytest

import odd_scans
from odd_scans import Values
from slicewise.imaging.head_check import has_air, head_doubts
from slicewise.imaging.preprocess import preprocess
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.study import generate_study
from slicewise.task import load_task
from slicewise.volume import Volume
from synthetic_head import Head

PARAMETERS = load_task("ich").preprocessing
SEEDS = range(4)


def doubts(volume: Volume) -> tuple[str, ...]:
    found = preprocess(volume, PARAMETERS)
    return head_doubts(found.values, PARAMETERS.pixel_mm, 5.0)


def with_ventricles(head: Head) -> Values:
    """Returns the images of a head with wide fluid in its middle: without, its brain is as even as a test phantom."""
    values, depth = head.values(), head.depth_mm()
    rows, columns = (head.pixel_mm[axis] * np.arange(head.matrix) - head.center_mm[axis] for axis in (0, 1))
    for side in (-1, 1):
        inside = np.hypot(rows[:, None] / 26, (columns[None, :] - side * 13) / 9) < 1
        values[(depth > 10) & inside] -= 22.0
    return values


def section_cm2(found: tuple[str, ...]) -> float:
    (doubt,) = found
    return float(doubt.split(" cm2")[0].split()[-1])


@pytest.mark.parametrize(
    "make",
    [
        odd_scans.knee,
        partial(odd_scans.trunk, lungs=True),
        partial(odd_scans.trunk, lungs=False),
        partial(odd_scans.disc, hu=0.0, ring_hu=120.0),
        partial(odd_scans.disc, hu=0.0, ring_hu=900.0),
        partial(odd_scans.disc, hu=35.0, ring_hu=900.0),
        odd_scans.inserts,
        odd_scans.noise,
        partial(odd_scans.noise, mean=35.0, spread=60.0),
        partial(odd_scans.noise, mean=500.0, spread=600.0),
    ],
    ids=[
        "knee",
        "chest",
        "abdomen",
        "water",
        "water in bone",
        "brain-like",
        "rods",
        "noise",
        "soft noise",
        "loud noise",
    ],
)
def test_what_is_no_head_is_doubted(make: Callable[[np.random.Generator], Values]) -> None:
    for seed in SEEDS:
        values = make(np.random.default_rng(seed))
        assert doubts(odd_scans.volume_of(values)), seed


@pytest.mark.parametrize("change", [odd_scans.through_a_window, odd_scans.signal_like_mr, lambda values: -values])
def test_a_head_in_other_units_is_doubted(change: Callable[[Values], Values]) -> None:
    head = Head()
    assert doubts(head.volume(change(head.values())))


def test_ordinary_heads_are_not_doubted() -> None:
    """With bleeds, disease, surgery, tilt and artefacts; of 1,000 none is (docs/results.md)."""
    parameters = PhantomParameters()
    small = msgspec.structs.replace(
        parameters, geometry=msgspec.structs.replace(parameters.geometry, matrix=96, slices=(28, 30))
    )
    found = {index: doubts(generate_study(31, index, small).volume) for index in range(4)}
    assert {index: item for index, item in found.items() if item} == {}


def test_heads_of_all_sizes_are_not_doubted() -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        head = Head(
            radii_mm=(75 * rng.uniform(0.9, 1.1), 82 * rng.uniform(0.9, 1.1), 66 * rng.uniform(0.9, 1.1)),
            noise_hu=rng.uniform(2, 8),
            csf_mm=rng.uniform(1, 6),
            offset_hu=rng.uniform(-4, 4),
            excess_hu=rng.uniform(0, 15),
        )
        assert doubts(head.volume(with_ventricles(head))) == (), head


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rim_mm": 20.0, "rim_share": 0.5},  # a large subdural
        {"rim_mm": 12.0, "rim_hu": 8.0, "rim_share": 1.0},  # atrophy
        {"gap_share": 0.2},  # a craniectomy
        {"excess_hu": 20.0, "offset_hu": 8.0},
        {"noise_hu": 25.0},
        {"lowest_mm": 10.0, "slices": 10},  # the upper half alone
        {"lowest_mm": -70.0, "slices": 8},  # the base alone
        {"radii_mm": (60.0, 62.0, 52.0)},  # of a child
        {"radii_mm": (90.0, 96.0, 80.0)},
    ],
    ids=str,
)
def test_odd_heads_are_not_doubted(changes: dict[str, float]) -> None:
    head = Head(**changes)  # type: ignore[arg-type]
    assert doubts(head.volume(with_ventricles(head))) == ()


def test_the_section_is_what_bone_encloses() -> None:
    # Cylinders of bone with soft tissue within: 3 cm in radius have 28 cm2, 4.5 cm have 64.
    rows, columns = odd_scans.plane(160, 1.0)

    def tube(radius: float) -> Values:
        reach = np.hypot(rows, columns)
        image = np.where(reach < radius + 7, 900.0, -1000.0)
        image[reach < radius] = np.where(columns > 0, 28.0, 40.0)[reach < radius]
        return np.repeat(image[None], 9, axis=0).astype(np.float32)

    assert section_cm2(head_doubts(tube(30.0), 1.0, 5.0)) == pytest.approx(np.pi * 9.0, abs=5.0)
    assert head_doubts(tube(45.0), 1.0, 5.0) == ()


def test_contrast_medium_is_doubted_by_its_volume() -> None:
    head = Head()
    values = with_ventricles(head)
    center = [round(center / 1.3) for center in head.center_mm]
    middle = slice(center[0] - 7, center[0] + 8), slice(center[1] - 7, center[1] + 8)

    def filled(slices: int) -> Volume:  # 15 x 15 pixels of 1.3 mm in slices 5 mm apart: 1.9 ml a slice
        images = values.copy()
        images[4 : 4 + slices, *middle] = 180.0
        return head.volume(images)

    assert doubts(filled(4)) == ()  # 7.6 ml, as calcifications have
    (doubt,) = doubts(filled(10))
    assert "contrast medium" in doubt
    assert float(doubt.split(" ml")[0]) == pytest.approx(19.0, abs=2.5)


def test_every_ct_has_air_and_masked_or_windowed_images_have_none() -> None:
    head = Head().values()
    assert has_air(head)
    assert not has_air(odd_scans.through_a_window(head))
    assert not has_air(head + 1024)
    assert not has_air(np.where(head < -200, 0, head))
