from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import nibabel.orientations
import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from slicewise.data.mask_files import MaskFiles, grid_place
from slicewise.data.occupancy import Occupancy, coarse_occupancy, digest_of_masks
from slicewise.data.prepare import PreparationSummary, prepare
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import UsageError
from slicewise.imaging.orientation import Turn
from slicewise.imaging.preprocess import ModelInput
from slicewise.task import OCCUPANCY_STRIDE, Task, load_task
from slicewise.volume import SliceReference
from tiny import write_tiny

NIFTI: Any = nibabel  # has no types
SLICES = tuple(SliceReference(f"1.{index}", 1, "", index) for index in range(10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with squares in two of them, masks of the squares beside their images."""
    folder = tmp_path_factory.mktemp("masks")
    write_tiny(folder, patients=4)
    for images in (folder / "images").iterdir():
        series_uid, hu = read_hu(images)
        write_mask(folder / "masks" / f"{series_uid}.nii.gz", squares(hu))
    return folder


def read_hu(folder: Path) -> tuple[str, npt.NDArray[np.float64]]:
    headers = [pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()]
    headers.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    hu = np.stack([header.pixel_array * header.RescaleSlope + header.RescaleIntercept for header in headers])
    return headers[0].SeriesInstanceUID, hu


def squares(values: npt.NDArray[np.float64] | npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Bits of bright (1) and dark (2) squares, by the HU that only they have."""
    bright = (values > 90) & (values < 400)
    dark = (values < -10) & (values > -200)
    return bright.astype(np.uint8) + np.uint8(2) * dark.astype(np.uint8)


def write_mask(path: Path, mask: npt.NDArray[np.uint8], axes: str = "LPS") -> None:
    """Writes a mask of shape (slices, rows, columns), its axes stored in the given directions."""
    image = NIFTI.Nifti1Image(mask.transpose(2, 1, 0), np.diag([-3.5, -3.5, 5.0, 1.0]))
    stored, wanted = NIFTI.orientations.io_orientation(image.affine), NIFTI.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(NIFTI.orientations.ornt_transform(stored, wanted))
    assert "".join(NIFTI.aff2axcodes(turned.affine)) == axes
    path.parent.mkdir(parents=True, exist_ok=True)
    NIFTI.save(turned, path)


def make(folder: Path, output: Path, masks: Path | None) -> PreparationSummary:
    task = load_task(folder / "squares.toml")
    return prepare(output, "table", [folder / "images"], folder / "labels.csv", task, masks=masks, workers=1)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    make(folder, folder / "dataset", folder / "masks")
    return Dataset.open(folder / "dataset")


def positive_record(dataset: Dataset) -> SeriesRecord:
    return next(record for record in dataset.records if (record.label_array[:, 0] == 1).any())


def shares_of(dataset: Dataset, record: SeriesRecord) -> npt.NDArray[np.float64]:
    """Share of every cell that squares fill, by the values of the network input, shape (rows, 2, cells, cells)."""
    mask = squares(dataset.input(record).values)
    cells = mask.shape[1] // OCCUPANCY_STRIDE
    blocks = mask.reshape(-1, cells, OCCUPANCY_STRIDE, cells, OCCUPANCY_STRIDE)
    return np.stack([(blocks & bit > 0).mean(axis=(2, 4)) for bit in (1, 2)], axis=1)


def test_masks_lie_where_the_images_show_the_finding(dataset: Dataset) -> None:
    for record in dataset.records:
        masks = dataset.masks(record) / 255
        # Resampling blurs the edges of squares, some of whose pixels then are out of their range of HU.
        np.testing.assert_allclose(masks[:, 1:], shares_of(dataset, record), atol=0.25)
        np.testing.assert_allclose(masks[:, 0], masks[:, 1:].sum(axis=1), atol=0.01)
        assert np.array_equal(masks[:, 1:].max(axis=(2, 3)) > 0, dataset.row_labels(record)[:, 1:] == 1)


@pytest.mark.parametrize("axes", ["RAS", "LAI", "PSL", "SRA", "IRP"])
def test_any_order_and_direction_of_axes_gives_the_same(
    folder: Path, dataset: Dataset, tmp_path: Path, axes: str
) -> None:
    record = positive_record(dataset)
    images = next(path for path in (folder / "images").iterdir() if read_hu(path)[0] == record.series_uid)
    write_mask(tmp_path / f"{record.series_uid}.nii", squares(read_hu(images)[1]), axes)
    assert np.array_equal(read(tmp_path, dataset.task, record), dataset.masks(record))


def read(folder: Path, task: Task, record: SeriesRecord) -> Occupancy:
    masks = MaskFiles.find(folder, task).of(record)
    assert masks is not None
    return masks


@pytest.mark.parametrize("orientation", [[-1, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0], [-1, 0, 0, 0, -1, 0]])
def test_images_in_any_direction_get_the_same_masks(
    folder: Path, dataset: Dataset, tmp_path: Path, orientation: list[int]
) -> None:
    record = positive_record(dataset)
    turned = tmp_path / "images"
    turned.mkdir()
    for source in (folder / "images").rglob("*"):
        if source.is_file():
            header = pydicom.dcmread(source)
            if header.SeriesInstanceUID == record.series_uid:
                turn_image(header, orientation)
                header.save_as(turned / source.name)
    prepare(tmp_path / "dataset", "table", [turned], None, dataset.task, masks=folder / "masks", workers=1)
    other = Dataset.open(tmp_path / "dataset")
    assert other.records[0].step_px != record.step_px or other.records[0].transposed != record.transposed
    np.testing.assert_allclose(other.masks(other.records[0]) / 255, dataset.masks(record) / 255, atol=0.01)


def turn_image(header: pydicom.Dataset, orientation: list[int]) -> None:
    """Stores the same picture of the patient with other directions of rows and columns."""
    stored = header.pixel_array
    if orientation[0] == 0:
        stored = stored.T
    if orientation[0] == -1:
        stored = stored[:, ::-1]
    if orientation[4] == -1:
        stored = stored[::-1]
    extent = 3.5 * (stored.shape[0] - 1)
    header.ImageOrientationPatient = orientation
    x, y, z = header.ImagePositionPatient
    header.ImagePositionPatient = [
        x + extent * (orientation[0] == -1),
        y + extent * (orientation[4] == -1),
        z,
    ]
    header.PixelData = np.ascontiguousarray(stored).tobytes()


def test_a_later_call_changes_masks_without_reading_images(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    assert make(folder, output, None).masked_series == 0
    without = Dataset.open(output)
    with_masks = make(folder, output, folder / "masks")
    assert (with_masks.kept, with_masks.masked_series) == (4, 4)
    digest = Dataset.open(output).digest()
    assert digest != without.digest()
    record = Dataset.open(output).records[0]
    files = sorted((output / "series").glob("*/masks.npy"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-5])
    np.save(files[2], 255 - np.load(files[2]))
    assert make(folder, output, folder / "masks").masked_series == 4
    restored = Dataset.open(output)
    assert restored.digest() == digest
    assert all(digest_of_masks(restored.masks(item)) == item.masks_digest for item in restored.records)
    files[3].unlink()
    assert make(folder, output, None).masked_series == 0
    assert not list(output.rglob("masks.npy"))
    assert Dataset.open(output).digest() == without.digest()
    assert record.masks_digest


def test_pixels_may_be_longer_than_slices_are_thick(tmp_path: Path) -> None:
    task = load_task("ich")
    record = msgspec.structs.replace(
        empty_record(6), series_uid="thin", matrix=(8, 9), pixel_spacing_mm=(4.0, 4.0), slices=SLICES[:6]
    )
    mask = np.zeros((6, 8, 9), dtype=np.uint8)
    mask[2, 3, 4] = 1
    image = NIFTI.Nifti1Image(mask.transpose(2, 1, 0), np.diag([-4.0, -4.0, 0.6, 1.0]))
    NIFTI.save(image, tmp_path / "thin.nii")
    masks = MaskFiles.find(tmp_path, task).of(record)
    assert masks is not None
    assert np.argwhere(masks[:, 1])[:, 0].tolist() == [2]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("slices", "has 9 slices, its series 10"),
        ("matrix", "has 32 x 64 rows and columns, its series 64 x 64"),
        ("identity", "pixels of 1 x 1 mm, those of its series 3.5 x 3.5 mm"),
        ("values", "slice 3 has values from 0 to 4. Expected whole numbers from 0 to 3"),
        ("fractions", "Expected whole numbers"),
        ("truncated", "Copy"),
    ],
)
def test_a_mask_that_does_not_fit_is_told_and_left_out(
    dataset: Dataset, tmp_path: Path, damage: str, told: str
) -> None:
    record = positive_record(dataset)
    path = tmp_path / "below" / f"{record.series_uid}.nii.gz"
    mask = np.zeros((10, 64, 64), dtype=np.uint8)
    affine = np.diag([-3.5, -3.5, 5, 1])
    if damage == "slices":
        mask = mask[1:]
    elif damage == "matrix":
        mask = mask[:, 32:]
    elif damage == "values":
        mask[3, 20, 20] = 4
    write_mask(path, mask)
    if damage == "fractions":
        NIFTI.save(NIFTI.Nifti1Image(np.full((64, 64, 10), 0.5, dtype=np.float32), affine), path)
    elif damage == "identity":
        NIFTI.save(NIFTI.Nifti1Image(mask.transpose(2, 1, 0), np.eye(4)), path)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    files = MaskFiles.find(tmp_path, dataset.task)
    assert files.of(record) is None
    (rejection,) = files.rejected
    assert (rejection.path, rejection.reason) == (f"below/{path.name}", "bad_mask")
    assert told in rejection.message
    (warning,) = files.warnings()
    assert warning.code == "unusable_masks"
    assert told in warning.message


def test_unusable_masks_stand_in_rejected_csv(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    record = positive_record(dataset)
    for name in ("a", "b"):
        write_mask(tmp_path / "masks" / name / f"{record.series_uid}.nii", np.zeros((9, 64, 64), dtype=np.uint8))
    summary = make(folder, tmp_path / "dataset", tmp_path / "masks")
    assert (summary.series, summary.masked_series, summary.unreadable) == (4, 0, 2)
    with (tmp_path / "dataset" / "rejected.csv").open(newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == {f"{name}/{record.series_uid}.nii" for name in ("a", "b")}
    assert {row["reason"] for row in rows.values()} == {"bad_mask"}
    assert "a/" in rows[f"b/{record.series_uid}.nii"]["message"]


@pytest.mark.parametrize("seed", range(8))
def test_the_cell_that_is_filled_is_the_one_that_shows_the_voxel(seed: int) -> None:
    """Checked with `ModelInput.to_original`, the way back that the pictures of the report use, for all eight turns."""
    turn = Turn(flip_rows=bool(seed & 1), flip_columns=bool(seed & 2), transposed=bool(seed & 4))
    task = load_task("ich")
    rng = np.random.default_rng(seed)
    matrix, slices = (90, 120), 3
    canonical = turn.swap(matrix)
    origin, step = (-7.3, 4.6), (0.55, 0.5)
    origin_px, step_px = turn.grid_in_original(origin, step, matrix)
    size = task.preprocessing.size
    cells = size // OCCUPANCY_STRIDE
    model_input = ModelInput(
        values=np.zeros((slices, size, size), dtype=np.int16),
        positions_mm=np.arange(slices, dtype=np.float64),
        duplicate_rank=np.zeros(slices, dtype=np.int64),
        slab_of_slice=np.arange(slices),
        origin_px=origin_px,
        step_px=step_px,
        transposed=turn.transposed,
    )
    wanted = rng.integers(4, cells - 4, 2)
    centre = OCCUPANCY_STRIDE * (wanted + 0.5) - 0.5
    voxel = np.rint(np.array(model_input.to_original(*centre))).astype(int)
    original = np.zeros((slices, *matrix), dtype=np.float32)
    original[1, voxel[0], voxel[1]] = 1.0
    upright = np.ascontiguousarray(turn.apply(original))
    assert upright.shape[1:] == canonical
    record = msgspec.structs.replace(
        empty_record(slices), matrix=matrix, origin_px=origin_px, step_px=step_px, transposed=turn.transposed
    )
    masks = coarse_occupancy({"epidural": upright}, grid_place(record), task)
    assert np.argwhere(masks[:, 1]).tolist() == [[1, *wanted.tolist()]]
    assert masks[1, 1].max() == round(255 / (OCCUPANCY_STRIDE**2 * step[0] * step[1]))


def empty_record(slices: int) -> SeriesRecord:
    return SeriesRecord(
        patient_id="",
        study_uid="",
        series_uid="",
        source_digest="",
        slices=(),
        positions_mm=(),
        labels=(),
        row_positions_mm=(),
        duplicate_rank=(),
        slab_of_slice=tuple(range(slices)),
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
        matrix=(1, 1),
        pixel_spacing_mm=(1.0, 1.0),
        tilt_degrees=0.0,
    )


def test_a_grid_that_cannot_hold_masks_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    task = load_task(folder / "squares.toml")
    odd = msgspec.structs.replace(task, preprocessing=msgspec.structs.replace(task.preprocessing, size=30))
    with pytest.raises(UsageError, match=r"preprocessing\.size is 30.*multiple of 8.*leave masks out"):
        prepare(tmp_path / "dataset", "table", [folder / "images"], None, odd, masks=folder / "masks", workers=1)
    assert not (tmp_path / "dataset").exists()


def test_masks_of_no_series_are_told(folder: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "masks" / "1.2.3.nii.gz", np.zeros((10, 64, 64), dtype=np.uint8))
    summary = make(folder, tmp_path / "dataset", tmp_path / "masks")
    assert summary.masked_series == 0
    assert [warning.message for warning in summary.warnings if warning.code == "unused_masks"] == [
        "1 masks belong to no prepared series (as 1.2.3.nii.gz): they are unused"
    ]
