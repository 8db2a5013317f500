from __future__ import annotations

import random
from typing import Any

import pytest
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from dicom_files import orientation
from headers import make_header
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.parts import difference, is_capture, split_headers

AXIAL: dict[str, Any] = {}
LOCALIZER: dict[str, Any] = {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}
CAPTURE: dict[str, Any] = {"sop_class_uid": SecondaryCaptureImageStorage, "image_orientation": None}
SAGITTAL: dict[str, Any] = {"image_orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}


def headers_of(*groups: tuple[int, dict[str, Any]]) -> list[SliceHeader]:
    """Returns headers of one series: so many with the same changes, then the next group."""
    changes = [one for count, one in groups for _ in range(count)]
    return [
        make_header(file=f"{index}", sop_uid=f"1.{index}", image_position=(0.0, 0.0, 5.0 * index), **one)
        for index, one in enumerate(changes)
    ]


def sizes(headers: list[SliceHeader]) -> list[int]:
    return [len(part) for part in split_headers(headers)]


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 256},
        {"columns": 511},
        SAGITTAL,
        {"image_orientation": tuple(orientation(12.0))},
        {"pixel_spacing_mm": (0.5, 0.501)},
        {"pixel_spacing_mm": None},
        LOCALIZER,
        CAPTURE,
        {"image_type": ("DERIVED", "SECONDARY", "SCREEN SAVE")},
        {"image_type": ("DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP")},
    ],
)
def test_what_makes_another_stack(changes: dict[str, Any]) -> None:
    headers = headers_of((20, AXIAL), (3, changes))
    first, second = split_headers(headers)
    assert first == tuple(headers[:20])
    assert second == tuple(headers[20:])


@pytest.mark.parametrize(
    "changes",
    [
        {"image_position": None},
        {"convolution_kernel": "BONE"},
        {"slice_thickness_mm": 2.5},
        {"image_orientation": (1.0, 0.0, 0.0, 0.0, 0.99999, -0.0044)},
        {"pixel_spacing_mm": (0.5001, 0.4999)},
        {"image_orientation": None},
    ],
)
def test_what_stays_in_one_stack(changes: dict[str, Any]) -> None:
    headers = [*headers_of((20, AXIAL)), make_header(**({"sop_uid": "2"} | changes))]
    assert split_headers(headers) == (tuple(headers),)


def test_the_largest_stack_comes_first_and_keeps_the_order_of_its_images() -> None:
    headers = headers_of((2, {"rows": 256}), (1, LOCALIZER), (9, AXIAL), (4, SAGITTAL))
    random.Random(1).shuffle(headers)
    parts = split_headers(headers)
    assert [len(part) for part in parts] == [9, 4, 2, 1]
    for part in parts:
        assert list(part) == [header for header in headers if header in part]


def test_the_split_does_not_depend_on_the_order_or_the_names_of_the_files() -> None:
    groups = ((5, AXIAL), (5, {"rows": 256}), (5, SAGITTAL), (5, LOCALIZER), (5, CAPTURE))
    expected = [{header.sop_uid for header in part} for part in split_headers(headers_of(*groups))]
    for seed in range(20):
        shuffled = headers_of(*groups)
        random.Random(seed).shuffle(shuffled)
        assert [{header.sop_uid for header in part} for part in split_headers(shuffled)] == expected


def test_localizers_of_several_planes_are_one_stack() -> None:
    headers = headers_of((9, AXIAL), (1, LOCALIZER | SAGITTAL), (1, LOCALIZER), (1, LOCALIZER | {"rows": 800}))
    assert sizes(headers) == [9, 3]


def test_images_without_orientation_go_with_the_stack_of_their_matrix() -> None:
    homeless = {"image_orientation": None, "rows": 256}
    headers = headers_of((9, AXIAL), (3, {"rows": 256}), (2, homeless), (1, {"image_orientation": None, "rows": 64}))
    assert sizes(headers) == [9, 5, 1]
    assert sizes(headers_of((4, {"image_orientation": None}))) == [4]


def test_projections_that_turn_around_the_head_are_one_stack() -> None:
    turning = [(1, {"image_orientation": tuple(orientation(angle))}) for angle in range(40, 160, 10)]
    assert sizes(headers_of((20, AXIAL), *turning)) == [20, 12]
    assert sizes(headers_of(*turning)) == [12]
    assert sizes(headers_of((20, AXIAL), *turning[:3])) == [20, 1, 1, 1]


def test_single_images_that_are_parallel_to_the_stack_stay_single() -> None:
    odd = [(1, {"rows": 100 + index}) for index in range(5)]
    assert sizes(headers_of((20, AXIAL), *odd)) == [20, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"rows": 256, "pixel_spacing_mm": (1.0, 0.5)}, "mixed_matrix", "256 x 512 pixels, not 512 x 512"),
        ({"pixel_spacing_mm": (1.0, 1.0)}, "mixed_spacing", "another size"),
        ({"pixel_spacing_mm": None}, "no_pixel_spacing", "no usable Pixel Spacing"),
        ({"image_orientation": tuple(orientation(20.0))}, "mixed_orientation", "another Image Orientation"),
    ],
)
def test_how_two_stacks_differ(changes: dict[str, Any], reason: str, words: str) -> None:
    found, text = difference(make_header(**changes), make_header())
    assert found == reason
    assert words in text


def test_captures_of_every_kind() -> None:
    assert is_capture(make_header(sop_class_uid=SecondaryCaptureImageStorage))
    assert is_capture(make_header(sop_class_uid=MultiFrameGrayscaleWordSecondaryCaptureImageStorage))
    assert is_capture(make_header(image_type=("DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT")))
    assert not is_capture(make_header())
    # a photograph of the eye: its class only begins with the same figures
    assert not is_capture(make_header(sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.5.1"))
