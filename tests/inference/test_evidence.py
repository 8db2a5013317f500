from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dicom_files import head_values
from slicewise import Detector
from slicewise.errors import PackageError
from slicewise.inference.evidence import COVERED_SIDE, MOST_COVERED_ROWS, occlusion_map, peak_on_grid
from slicewise.inference.runtime import EncodedSlices, Floats
from slicewise.package import ModelPackage
from slicewise.results import EvidenceMap, SeriesResult
from slicewise.task import PreprocessingParameters, load_task
from slicewise.volume import Orientation, SliceReference, Volume

TASK = load_task("ich")
STRIDE, SIZE, PIXEL_MM = 8, 96, 2.0
LABELS = len(TASK.labels)
SLICES = 5
SPOT_HU = 1500
"""Far brighter than the head of the test, so that the bone window alone shows the spot."""

AXES = [np.array(axis, dtype=float) for axis in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))]
IN_PLANE = [(*columns, *rows) for columns, rows in itertools.product(AXES, AXES) if abs(float(columns @ rows)) < 0.5]


class BrightRuntime:
    """Sees what is bright in the bone window: its maps are logits of cell means, its score grows with their sum."""

    name = "bright"

    def __init__(self, *, with_maps: bool) -> None:
        self.with_maps = with_maps
        self.encoded = 0

    def encode(self, channels: Floats) -> EncodedSlices:
        self.encoded += len(channels)
        cells = SIZE // STRIDE
        bright = np.clip(channels[:, 2] - 0.6, 0, None)
        means = bright.reshape(len(channels), cells, STRIDE, cells, STRIDE).mean(axis=(2, 4))
        maps = np.repeat(40 * means[:, None] - 6, LABELS, axis=1).astype(np.float32)
        logits = np.repeat(bright.sum(axis=(1, 2))[:, None] / 4 - 2, LABELS, axis=1).astype(np.float32)
        empty = np.zeros((len(channels), 0), np.float32)
        return EncodedSlices(empty, logits, empty, maps if self.with_maps else None)

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        assert len(positions) == len(slices.slice_logits)
        return slices.slice_logits


@pytest.fixture(scope="module")
def package(make_manifest: Any) -> ModelPackage:
    task = replace(
        TASK,
        preprocessing=PreprocessingParameters(
            pixel_mm=PIXEL_MM, size=SIZE, slab_mm=5.0, body_threshold=-200.0, opening_mm=8.0
        ),
    )
    return ModelPackage(make_manifest(task=task), "0" * 64, {})


def volume_with_spots(
    spots: Sequence[tuple[int, int, int]], orientation: Orientation, *, radius: int = 2, thickness: int = 1
) -> Volume:
    """Heads with a bright spot in some slices, as (slice, row, column) of the stored images, of 64 by 72 pixels."""
    values = np.pad(head_values(SLICES), ((0, 0), (0, 0), (0, 8)), constant_values=-1000.0)
    for index, row, column in spots:
        values[index, row - radius : row + radius + 1, column - radius : column + radius + 1] = SPOT_HU
    values = np.repeat(values, thickness, axis=0)
    count = len(values)
    return Volume(
        values=values,
        positions_mm=np.arange(count) * 5.0 / thickness,
        pixel_spacing_mm=(2.6, 2.2),
        tilt_degrees=0.0,
        duplicate_rank=np.zeros(count, dtype=np.int64),
        slices=tuple(SliceReference(f"1.{index}", 1, f"{index}.dcm", index) for index in range(count)),
        patient_id="P",
        study_uid="1",
        series_uid="2",
        modality="CT",
        orientation=orientation,
    )


def as_orientation(values: Sequence[float]) -> Orientation:
    a, b, c, d, e, f = map(float, values)
    return a, b, c, d, e, f


def scored(
    package: ModelPackage, volume: Volume, *, with_maps: bool = True, evidence_maps: bool = True
) -> SeriesResult:
    return Detector(package, BrightRuntime(with_maps=with_maps), evidence_maps=evidence_maps).predict_volume(volume)


def cells_of(found: EvidenceMap) -> npt.NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(found.cells), np.uint8).reshape(found.side, found.side)


def level_at(found: EvidenceMap, row: float, column: float) -> int:
    """The level of the cell that lies over a place of the stored image."""
    place = (
        int((row - found.top) / (found.bottom - found.top) * found.side),
        int((column - found.left) / (found.right - found.left) * found.side),
    )
    return int(cells_of(found)[place])


@given(
    orientation=st.sampled_from(IN_PLANE),
    spot=st.tuples(st.integers(0, 4), st.integers(20, 44), st.integers(20, 44)),
    method=st.sampled_from(["map", "occlusion"]),
)
@settings(max_examples=80)
def test_evidence_lies_on_the_finding_in_the_stored_image_however_it_is_turned(
    package: ModelPackage, orientation: Sequence[float], spot: tuple[int, int, int], method: str
) -> None:
    index, row, column = spot
    volume = volume_with_spots([spot], as_orientation(orientation))
    result = scored(package, volume, with_maps=method == "map")
    item = result.slices[index]
    assert [place for place, other in enumerate(result.slices) if other.evidence] == [index]
    assert [peak.label for peak in item.evidence] == list(TASK.label_names)
    # Half a cell, and half a spot, either way: cells are squares of millimetres, pixels are not.
    cell_mm = PIXEL_MM * (STRIDE if method == "map" else SIZE / COVERED_SIDE)
    reach = [cell_mm / 2 / spacing + 3 for spacing in volume.pixel_spacing_mm]
    peak = item.evidence[0]
    assert abs(peak.row - row) <= reach[0]
    assert abs(peak.column - column) <= reach[1]
    assert peak.method == method
    assert peak.value > 0
    found = item.evidence_map
    assert found is not None
    assert (found.label, found.method) == ("any", method)
    assert level_at(found, peak.row, peak.column) == cells_of(found).max() == 255


def test_all_in_plane_orientations_are_tried() -> None:
    assert len(IN_PLANE) == 8


def test_a_map_covers_what_the_network_reads(package: ModelPackage) -> None:
    result = scored(package, volume_with_spots([(2, 30, 30)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)))
    found = result.slices[2].evidence_map
    assert found is not None
    assert found.side == SIZE // STRIDE
    # 96 pixels of 2 mm, in rows of 2.6 mm and columns of 2.2 mm.
    assert found.bottom - found.top == pytest.approx(192 / 2.6)
    assert found.right - found.left == pytest.approx(192 / 2.2)


def test_maps_tell_the_peaks_of_all_flagged_slices_and_are_kept_only_for_pictures(package: ModelPackage) -> None:
    volume = volume_with_spots([(index, 30, 30) for index in range(SLICES)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    shown, plain = (scored(package, volume, evidence_maps=wanted) for wanted in (True, False))
    assert [item.evidence for item in plain.slices] == [item.evidence for item in shown.slices]
    assert all(item.evidence for item in plain.slices)
    assert all(item.evidence_map is None for item in plain.slices)
    assert all(item.evidence_map is not None for item in shown.slices)


def test_occlusion_is_for_pictures_alone_and_for_few_slices(package: ModelPackage) -> None:
    volume = volume_with_spots([(index, 30, 30) for index in range(SLICES)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    # The second and the last slice have a smaller finding: the others are the most probable ones.
    for index in (1, 4):
        volume.values[index, 28:30, 28:33] = 40.0
    runtimes = [BrightRuntime(with_maps=False) for _ in range(2)]
    results = [
        Detector(package, runtime, evidence_maps=wanted).predict_volume(volume)
        for runtime, wanted in zip(runtimes, (False, True), strict=True)
    ]
    assert not any(item.evidence for item in results[0].slices)
    assert runtimes[0].encoded == SLICES
    assert MOST_COVERED_ROWS == 3
    assert [place for place, item in enumerate(results[1].slices) if item.evidence] == [0, 2, 3]
    assert runtimes[1].encoded <= SLICES + MOST_COVERED_ROWS * (COVERED_SIDE**2 + 1)


def test_slices_of_a_slab_share_their_evidence(package: ModelPackage) -> None:
    volume = volume_with_spots([(2, 30, 30)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), thickness=2)
    result = scored(package, volume)
    assert [place for place, item in enumerate(result.slices) if item.evidence] == [4, 5]
    assert result.slices[4].evidence == result.slices[5].evidence


def test_a_slice_flagged_without_the_label_that_sums_up_shows_the_most_probable_one(
    package: ModelPackage,
) -> None:
    manifest = package.manifest
    thresholds = dict.fromkeys(TASK.label_names, 0.5) | {"any": 1.1}
    bias = tuple(0.5 if name == "subdural" else 0.0 for name in TASK.label_names)
    calibration = replace(manifest.calibration, bias=bias)
    changed = ModelPackage(replace(manifest, thresholds=thresholds, calibration=calibration), "0" * 64, {})
    result = scored(changed, volume_with_spots([(2, 30, 30)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)))
    found = result.slices[2].evidence_map
    assert found is not None
    assert found.label == "subdural"
    assert "any" not in [peak.label for peak in result.slices[2].evidence]


def test_occlusion_finds_the_square_that_the_score_needs() -> None:
    channels = np.full((3, SIZE, SIZE), 0.5, dtype=np.float32)
    channels[:, 20:76, 20:76] += np.random.default_rng(0).uniform(0, 0.05, (3, 56, 56)).astype(np.float32)
    channels[2, 36:44, 50:58] = 1.0
    runtime = BrightRuntime(with_maps=False)
    found = occlusion_map(runtime, channels)
    assert found.shape == (LABELS, COVERED_SIDE, COVERED_SIDE)
    # Squares of 16 pixels: the spot of 64 pixels, which adds 0.4 / 4 each, lies in rows 32 to 47, columns 48 to 63.
    expected = np.zeros((COVERED_SIDE, COVERED_SIDE))
    expected[2, 3] = 6.4
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    # Flat squares are not covered: of 36 squares the middle 16 hold something.
    assert runtime.encoded == 17


def test_a_blank_slice_has_no_evidence() -> None:
    found = occlusion_map(BrightRuntime(with_maps=False), np.zeros((3, SIZE, SIZE), dtype=np.float32))
    assert not found.any()


def test_a_peak_is_the_centre_of_its_cell() -> None:
    values = np.zeros((4, 4), dtype=np.float32)
    values[2, 1] = 1.0
    assert peak_on_grid(values, 32) == (19.5, 11.5)


@pytest.mark.parametrize("shape", [(SLICES, LABELS, 4, 5), (SLICES, 1, 4, 4), (SLICES, LABELS, 4)])
def test_maps_of_another_shape_are_refused(package: ModelPackage, shape: tuple[int, ...]) -> None:
    runtime = BrightRuntime(with_maps=True)
    volume = volume_with_spots([(2, 30, 30)], (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    ordinary = runtime.encode

    def encode(channels: Floats) -> EncodedSlices:
        return dataclasses.replace(ordinary(channels), maps=np.zeros(shape, np.float32))

    runtime.encode = encode  # type: ignore[method-assign]
    with pytest.raises(PackageError, match=r"maps of shape .*; expected \(slices, 6, C, C\)"):
        Detector(package, runtime).predict_volume(volume)
