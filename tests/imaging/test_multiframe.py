from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from decoding import headers_of
from dicom_files import frame_group, make_enhanced, orientation, sequence, write_dataset
from slicewise.imaging.decode import decode_slice
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.load import load_volume
from slicewise.imaging.series import Series, group_studies
from slicewise.results import Rejection

FRAMES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) + 1000


def written(tmp_path: Path, *arguments: Any, pixels: npt.NDArray[np.int16] = FRAMES, **tags: Any) -> list[SliceHeader]:
    return headers_of(write_dataset(tmp_path / "a.dcm", make_enhanced(pixels, *arguments, **tags)))


def values_of(headers: list[SliceHeader]) -> npt.NDArray[np.float32]:
    return np.stack([decode_slice(header).values for header in headers])


def rescale(intercept: object, slope: object) -> dict[str, list[Dataset]]:
    tags = {"RescaleIntercept": intercept, "RescaleSlope": slope}
    stated = {keyword: value for keyword, value in tags.items() if value is not None}
    return {"PixelValueTransformationSequence": sequence(**stated)} if stated else {}


def groups(*sequences: dict[str, list[Dataset]]) -> list[Dataset]:
    return [frame_group(5.0 * index, **item) for index, item in enumerate(sequences)]


def without_rescale() -> Dataset:
    return sequence(
        PlaneOrientationSequence=sequence(ImageOrientationPatient=orientation()),
        PixelMeasuresSequence=sequence(PixelSpacing=[3.5, 3.5], SliceThickness=5.0),
    )[0]


def test_every_frame_is_a_slice_with_what_holds_for_all(tmp_path: Path) -> None:
    headers = written(tmp_path)
    assert [header.frame for header in headers] == [1, 2, 3, 4]
    assert [header.image_position for header in headers] == [(-112, -112, z) for z in (0, 5, 10, 15)]
    assert {header.image_orientation for header in headers} == {(1, 0, 0, 0, 1, 0)}
    assert {header.pixel_spacing_mm for header in headers} == {(3.5, 3.5)}
    assert {header.slice_thickness_mm for header in headers} == {5.0}
    assert {header.convolution_kernel for header in headers} == {"H30s"}
    assert {header.image_type for header in headers} == {("ORIGINAL", "PRIMARY", "VOLUME", "NONE")}
    assert len({header.sop_uid for header in headers}) == 1
    np.testing.assert_array_equal(values_of(headers), FRAMES - 1024)


def test_a_volume_equals_simpleitk(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_enhanced(FRAMES))
    volume, rejected = load_volume(Series(tuple(headers_of(path))))
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.values, SimpleITK.GetArrayFromImage(image))
    np.testing.assert_array_equal(np.diff(volume.positions_mm), [5.0, 5.0, 5.0])
    assert rejected == ()
    assert volume.warnings == ()


def test_own_groups_come_before_shared_ones(tmp_path: Path) -> None:
    own = {
        "PlaneOrientationSequence": sequence(ImageOrientationPatient=[0.0, 1.0, 0.0, -1.0, 0.0, 0.0]),
        "PixelMeasuresSequence": sequence(PixelSpacing=[1.0, 2.0], SliceThickness=1.25),
        "CTImageFrameTypeSequence": sequence(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]),
        "CTReconstructionSequence": sequence(ConvolutionKernel="H60s"),
        **rescale(-1000.0, 2.0),
    }
    special, *others = written(tmp_path, groups(own, {}, {}, {}))
    assert special.image_orientation == (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
    assert special.pixel_spacing_mm == (1.0, 2.0)
    assert special.slice_thickness_mm == 1.25
    assert special.convolution_kernel == "H60s"
    assert special.image_type[2] == "LOCALIZER"
    assert [header.convolution_kernel for header in others] == ["H30s"] * 3
    np.testing.assert_array_equal(decode_slice(special).values, FRAMES[0] * 2.0 - 1000.0)
    np.testing.assert_array_equal(values_of(others), FRAMES[1:] - 1024.0)


def test_a_localizer_among_the_frames_makes_a_stack_of_its_own(tmp_path: Path) -> None:
    localizer = {"CTImageFrameTypeSequence": sequence(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])}
    (study,) = group_studies(written(tmp_path, groups({}, {}, {}, localizer)))
    assert [[header.frame for header in series.headers] for series in study.series] == [[1, 2, 3], [4]]


def test_the_frame_types_of_mr(tmp_path: Path) -> None:
    frame_type = {"MRImageFrameTypeSequence": sequence(FrameType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])}
    headers = written(tmp_path, groups(frame_type, {}, {}, {}), without_rescale(), Modality="MR")
    assert headers[0].image_type == ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")
    assert headers[1].image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


class TestRescale:
    def test_of_every_frame(self, tmp_path: Path) -> None:
        own = [rescale(-1024.0, 1.0), rescale(-500.5, 1.0), rescale(0.0, 0.25), rescale(10.0, -0.5)]
        headers = written(tmp_path, groups(*own), without_rescale())
        expected = [FRAMES[0] - 1024.0, FRAMES[1] - 500.5, FRAMES[2] * 0.25, FRAMES[3] * -0.5 + 10.0]
        np.testing.assert_array_equal(values_of(headers), expected)

    def test_the_one_of_the_image_holds_where_no_group_states_one(self, tmp_path: Path) -> None:
        tags: dict[str, Any] = {"RescaleIntercept": -7.0, "RescaleSlope": 3.0}
        headers = written(tmp_path, groups({}, rescale(-1.0, None), rescale(None, 2.0), {}), without_rescale(), **tags)
        expected = [FRAMES[0] * 3.0 - 7, FRAMES[1] * 3.0 - 1, FRAMES[2] * 2.0 - 7, FRAMES[3] * 3.0 - 7]
        np.testing.assert_array_equal(values_of(headers), expected)

    def test_a_slope_alone_leaves_the_intercept_missing(self, tmp_path: Path) -> None:
        headers = written(tmp_path, groups(*[rescale(None, 2.0)] * 4), without_rescale())
        image = decode_slice(headers[0])
        np.testing.assert_array_equal(image.values, FRAMES[0] * 2.0)
        assert [warning.code for warning in image.warnings] == ["missing_rescale"]

    def test_an_intercept_alone_has_slope_1(self, tmp_path: Path) -> None:
        headers = written(tmp_path, groups(*[rescale(-24.0, None)] * 4), without_rescale())
        image = decode_slice(headers[3])
        np.testing.assert_array_equal(image.values, FRAMES[3] - 24.0)
        assert image.warnings == ()

    def test_one_that_is_none_concerns_its_frame(self, tmp_path: Path) -> None:
        headers = written(tmp_path, groups({}, rescale(-24.0, 0.0), {}, {}))
        volume, rejected = load_volume(Series(tuple(headers)))
        assert len(volume.values) == 3
        assert [item.reason for item in rejected] == ["bad_rescale"]
        assert "slices_missing" in [warning.code for warning in volume.warnings]


class TestPositions:
    def test_frames_in_any_order(self, tmp_path: Path) -> None:
        order = [2, 0, 3, 1]
        own = [frame_group(5.0 * place) for place in order]
        volume, _ = load_volume(Series(tuple(written(tmp_path, own))))
        assert volume.positions_mm.tolist() == [0, 5, 10, 15]
        assert [item.frame for item in volume.slices] == [2, 4, 1, 3]
        np.testing.assert_array_equal(volume.values, (FRAMES - 1024.0)[np.argsort(order)])

    def test_frames_at_one_position_are_ranked_by_their_number(self, tmp_path: Path) -> None:
        headers = written(tmp_path, [frame_group(z) for z in (0.0, 5.0, 5.0, 10.0)])
        for given in (headers, headers[::-1]):
            volume, rejected = load_volume(Series(tuple(given)))
            assert rejected == ()
            assert [item.frame for item in volume.slices] == [1, 2, 3, 4]
            assert volume.duplicate_rank.tolist() == [0, 0, 1, 0]
            np.testing.assert_array_equal(volume.values, FRAMES - 1024.0)

    def test_one_that_is_malformed_is_not_taken_from_elsewhere(self, tmp_path: Path) -> None:
        own = [frame_group(5.0 * index) for index in range(4)]
        own[2].PlanePositionSequence = sequence(ImagePositionPatient=[1.0, 2.0])
        headers = written(tmp_path, own, ImagePositionPatient=[0.0, 0.0, 99.0])
        assert [header.image_position is None for header in headers] == [False, False, True, False]
        volume, rejected = load_volume(Series(tuple(headers)))
        assert len(volume.values) == 3
        assert [item.reason for item in rejected] == ["no_position"]

    def test_the_geometry_of_the_image_holds_where_no_group_states_one(self, tmp_path: Path) -> None:
        tags: dict[str, Any] = {
            "ImageOrientationPatient": orientation(10.0),
            "PixelSpacing": [0.5, 0.6],
            "SliceThickness": 3.0,
        }
        headers = written(tmp_path, None, Dataset(), ConvolutionKernel="B31s", **tags)
        assert headers[0].image_orientation == tuple(orientation(10.0))
        assert headers[0].pixel_spacing_mm == (0.5, 0.6)
        assert headers[0].slice_thickness_mm == 3.0
        assert headers[0].convolution_kernel == "B31s"


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_a_wrong_number_of_groups_is_refused(tmp_path: Path, count: int) -> None:
    own = [frame_group(5.0 * index) for index in range(count)]
    path = write_dataset(tmp_path / "a.dcm", make_enhanced(FRAMES, own))
    (found,) = discover([path])
    assert isinstance(found, Rejection)
    assert (found.kind, found.reason) == ("unreadable", "multiframe")
    assert "has 4 frames" in found.message
    assert found.series_uid


def test_one_frame_with_groups_is_read_by_them(tmp_path: Path) -> None:
    (header,) = written(tmp_path, [frame_group(35.0)], pixels=FRAMES[:1])
    assert header.image_position == (-112.0, -112.0, 35.0)
    np.testing.assert_array_equal(decode_slice(header).values, FRAMES[0] - 1024.0)


def test_one_frame_without_groups_is_an_ordinary_image(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"PerFrameFunctionalGroupsSequence": None, "RescaleIntercept": 5.0, "NumberOfFrames": 1}
    (header,) = written(tmp_path, pixels=FRAMES[:1], **tags)
    assert header.frame == 1
    np.testing.assert_array_equal(decode_slice(header).values, FRAMES[0] + 5.0)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_many_frames_come_whatever_the_number_of_workers(tmp_path: Path, syntax: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 3000, (40, 8, 8)).astype(np.int16)
    dataset = make_enhanced(pixels)
    path = write_dataset(tmp_path / "a.dcm", dataset)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
        path = write_dataset(path, dataset)
    series = Series(tuple(headers_of(path)))
    for workers in (1, 3):
        volume, rejected = load_volume(series, workers=workers)
        np.testing.assert_array_equal(volume.values, np.maximum(pixels - 1024.0, -1024.0))
        assert rejected == ()
