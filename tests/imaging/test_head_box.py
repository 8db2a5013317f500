from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.imaging.head_box import body_centre, skull_centre
from synthetic_head import Head

HEAD = Head(slices=10, lowest_mm=-20.0, noise_hu=8.0)
BODY = {"threshold": -200.0, "opening_mm": 8.0}


def off_by_mm(head: Head, values: npt.NDArray[np.float32] | None = None) -> float:
    centre = skull_centre(head.volume(values))
    assert centre is not None
    return float(np.hypot(*(np.multiply(centre, head.pixel_mm) - head.center_mm)))


def with_face_and_headrest(head: Head) -> npt.NDArray[np.float32]:
    """Adds a nose and jaw in front of the lower slices, a neck behind, and a headrest that the scalp lies on."""
    values = head.values()
    rows = np.arange(head.matrix)[:, None] * head.pixel_mm[0] - head.center_mm[0]
    columns = np.arange(head.matrix)[None, :] * head.pixel_mm[1] - head.center_mm[1]
    for image, position in zip(values, head.positions_mm, strict=True):
        back = np.sqrt(max(0.0, 1 - (position / head.radii_mm[0]) ** 2)) * head.radii_mm[1] + 12
        image[(np.abs(rows - back - 4) < 4) & (np.abs(columns) < 60)] = 150.0
        if position < 0:
            image[(rows < -70) & (rows > -110) & (np.abs(columns) < 25) & (image < -500)] = 50.0
            image[(rows < -95) & (rows > -102) & (np.abs(columns) < 20)] = 900.0
    return values


def test_the_centre_is_that_of_the_cranial_cavity() -> None:
    assert off_by_mm(HEAD) < 0.5
    assert off_by_mm(replace(HEAD, center_mm=(90.0, 118.0))) < 0.5
    assert off_by_mm(replace(HEAD, pixel_mm=(1.2, 1.4), center_mm=(95.0, 110.0))) < 1.0


@settings(deadline=None, max_examples=12)
@given(
    row=st.floats(92, 112),
    column=st.floats(80, 120),
    size=st.floats(0.75, 1.05),
    lowest=st.floats(-50, -10),
    offset_hu=st.floats(-8, 8),
)
def test_it_is_steady_for_heads_of_any_size_and_range(
    row: float, column: float, size: float, lowest: float, offset_hu: float
) -> None:
    a, b, c = HEAD.radii_mm
    head = replace(
        HEAD,
        center_mm=(row, column),
        radii_mm=(a * size, b * size, c * size),
        lowest_mm=lowest,
        offset_hu=offset_hu,
    )
    assert off_by_mm(head) < 1.0


def test_face_neck_and_headrest_do_not_move_it() -> None:
    head = replace(HEAD, radii_mm=(70.0, 75.0, 60.0), center_mm=(114.0, 104.0), lowest_mm=-45.0, slices=20)
    values = with_face_and_headrest(head)
    assert off_by_mm(head, values) < 2.5
    body = body_centre(head.volume(values), **BODY)
    assert body is not None
    assert abs(body[0] * head.pixel_mm[0] - head.center_mm[0]) > 5.0  # what the box of the body does there


@pytest.mark.parametrize("lean", [-0.3, 0.3])
def test_a_leaning_head_stays_within_the_box(lean: float) -> None:
    assert off_by_mm(replace(HEAD, lean_mm_per_mm=lean, lowest_mm=-40.0, slices=17)) < 5.0


def test_where_the_image_cuts_the_head_off_it_is_the_centre_of_what_is_there() -> None:
    head = replace(HEAD, center_mm=(102.0, 45.0))  # 21 mm of the cavity and its skull are outside
    centre = skull_centre(head.volume())
    assert centre is not None
    row, column = np.multiply(centre, head.pixel_mm)
    assert row == pytest.approx(102.0, abs=1.5)
    across = np.linspace(-45.0, 66.0, 1000)  # columns of an ellipse that are left, from its centre
    expected = 45.0 + np.average(across, weights=np.sqrt(np.maximum(0, 1 - (across / 66.0) ** 2)))
    assert column == pytest.approx(expected, abs=2.0)


def test_a_craniectomy_moves_it_by_a_few_millimetres() -> None:
    assert off_by_mm(replace(HEAD, gap_share=0.2)) < 7.0


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_few_slices_are_enough(slices: int) -> None:
    assert off_by_mm(replace(HEAD, slices=slices, lowest_mm=0.0)) < 1.0


def test_thin_slices_give_the_same_centre() -> None:
    thin = replace(HEAD, slices=40, spacing_mm=1.0)
    assert off_by_mm(thin) < 0.5


def test_without_bone_there_is_no_skull_but_a_body() -> None:
    values = np.where(HEAD.depth_mm() > -12.0, 40.0, -1000.0).astype(np.float32)
    assert skull_centre(HEAD.volume(values)) is None
    body = body_centre(HEAD.volume(values), **BODY)
    assert body is not None
    assert np.multiply(body, HEAD.pixel_mm) == pytest.approx(HEAD.center_mm, abs=4.0)


def test_in_air_there_is_neither() -> None:
    empty = HEAD.volume(np.full((10, 160, 160), -1000.0, dtype=np.float32))
    assert skull_centre(empty) is None
    assert body_centre(empty, **BODY) is None
