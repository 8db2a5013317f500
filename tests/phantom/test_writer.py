from __future__ import annotations

import csv
import filecmp
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from nibabel.nifti1 import Nifti1Image
from PIL import Image

from phantom_heads import simple_head
from slicewise.errors import MissingExtraError, SlicewiseError, UsageError
from slicewise.phantom import pool
from slicewise.phantom import study as study_module
from slicewise.phantom.head import render_head
from slicewise.phantom.masks import MASK_BITS
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import PhantomStudy, generate_study
from slicewise.phantom.writer import write_phantom

SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=64", "geometry.slices=[5, 7]", "geometry.thin=0", "geometry.medium=0", "geometry.gap=0"),
        *(
            "geometry.overlap=0",
            "geometry.changing=0",
            "hemorrhage.positive_share=1",
            "headers.ge=1",
            "headers.siemens=0",
        ),
        *("headers.philips=0", "headers.canon=0"),
    ],
)
# Type 1 and 2 attributes of the modules of the CT image IOD, DICOM PS3.3 table A.3-1.
TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "RescaleIntercept", "RescaleSlope"),
)
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber", "SeriesNumber", "PositionReferenceIndicator"),
    *("Manufacturer", "InstanceNumber", "SliceThickness", "KVP", "AcquisitionNumber"),
)
LABELS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


@pytest.fixture(scope="module", autouse=True)
def _simple_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        yield


@pytest.fixture(scope="module")
def clinical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("phantom") / "clinical"
    write_phantom(output, 3, seed=4, parameters=SMALL, masks=True, preview=True)
    return output


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("phantom") / "rsna"
    write_phantom(output, 3, seed=4, layout="rsna", parameters=SMALL)
    return output


@lru_cache
def _study(index: int) -> PhantomStudy:
    return generate_study(4, index, SMALL)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def _series(output: Path, index: int) -> dict[str, tuple[Path, pydicom.Dataset]]:
    uid = _study(index).volume.series_uid
    folder = next((output / "dicom").glob(f"*/*/{uid}"))
    read = {path: pydicom.dcmread(path) for path in sorted(folder.iterdir())}
    return {str(dataset.SOPInstanceUID): (path, dataset) for path, dataset in read.items()}


def _hu(dataset: pydicom.Dataset) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return np.maximum(hu, -1024)  # padding outside the circle of reconstruction is air


def test_images_hold_the_generated_hounsfield_units_and_geometry(clinical: Path) -> None:
    for index in range(3):
        study, images = _study(index), _series(clinical, index)
        assert set(images) == {item.sop_uid for item in study.volume.slices}
        ordered = [images[item.sop_uid][1] for item in study.volume.slices]
        for values, dataset in zip(study.volume.values, ordered, strict=True):
            np.testing.assert_allclose(_hu(dataset), values, atol=0.5)
        orientation = np.array(ordered[0].ImageOrientationPatient, dtype=float)
        normal = np.cross(orientation[:3], orientation[3:])
        along = np.array([np.dot(normal, np.array(item.ImagePositionPatient, dtype=float)) for item in ordered])
        np.testing.assert_allclose(along, study.volume.positions_mm, atol=1e-3)
        np.testing.assert_allclose(np.diff(along), float(ordered[0].SliceThickness), atol=1e-3)
        np.testing.assert_allclose(ordered[0].PixelSpacing, study.volume.pixel_spacing_mm, atol=1e-5)
        tilt = np.degrees(np.arccos(normal[2]))
        assert tilt == pytest.approx(study.volume.tilt_degrees, abs=1e-3)
        assert tilt == pytest.approx(abs(float(ordered[0].GantryDetectorTilt)), abs=1e-3)


def test_a_clinical_image_has_what_its_iod_requires(clinical: Path) -> None:
    for _, dataset in _series(clinical, 0).values():
        assert all(dataset.get(keyword) not in (None, "") for keyword in TYPE_1)
        assert all(keyword in dataset for keyword in TYPE_2)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.TransferSyntaxUID.is_little_endian
        assert dataset.SOPInstanceUID.is_valid
        assert str(dataset.PatientName).startswith("PHANTOM^")
        assert "not a patient" in dataset.ImageComments
        assert dataset.pixel_array.shape == (64, 64)


def test_file_order_does_not_give_the_positions_away_but_instance_numbers_do(clinical: Path) -> None:
    shuffled = 0
    for index in range(3):
        images = list(_series(clinical, index).values())
        positions = [float(dataset.ImagePositionPatient[2]) for _, dataset in images]
        numbers = [int(dataset.InstanceNumber) for _, dataset in images]
        assert [path.name for path, _ in images] == [f"IM{number:04d}.dcm" for number in range(1, len(images) + 1)]
        shuffled += int(positions not in (sorted(positions), sorted(positions, reverse=True)))
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert abs(np.corrcoef(numbers, positions)[0, 1]) == pytest.approx(1.0)
    assert shuffled >= 2


def test_label_table_says_what_was_planted(clinical: Path) -> None:
    rows = _rows(clinical / "labels.csv")
    expected = []
    for index in range(3):
        study = _study(index)
        for number, labels in enumerate(study.labels.tolist()):
            cells = {name: "" if value == -1 else str(value) for name, value in zip(LABELS, labels, strict=True)}
            ids = {
                "patient_id": study.volume.patient_id,
                "study_uid": study.volume.study_uid,
                "series": study.volume.series_uid,
                "sop_uid": study.volume.slices[number].sop_uid,
                "slice_index": str(number),
                "position_mm": f"{study.volume.positions_mm[number]:.3f}",
            }
            expected.append(ids | cells)
    assert rows == expected
    assert any(row["any"] == "1" for row in rows)


def test_masks_are_bits_in_the_place_of_the_images(clinical: Path) -> None:
    seen = 0
    for index in range(3):
        study = _study(index)
        image = Nifti1Image.from_filename(clinical / "masks" / f"{study.volume.series_uid}.nii.gz")
        array = np.asarray(image.dataobj)
        assert array.dtype == np.uint8
        assert array.shape == tuple(reversed(study.volume.values.shape))
        for name, bit in MASK_BITS.items():
            occupancy = study.occupancy.get(name, np.zeros(study.volume.values.shape))
            np.testing.assert_array_equal(array & bit > 0, (occupancy >= 0.25).transpose(2, 1, 0))
            seen += int((array & bit > 0).sum())
        images = _series(clinical, index)
        for number in (0, len(study.volume.slices) - 1):
            dataset = images[study.volume.slices[number].sop_uid][1]
            row, column = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
            # DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1: column 5, row 9 of this slice.
            spacing = [float(value) for value in dataset.PixelSpacing]
            patient = (
                np.array(dataset.ImagePositionPatient, dtype=float) + row * 5 * spacing[1] + column * 9 * spacing[0]
            )
            np.testing.assert_allclose((image.affine @ [5, 9, number, 1])[:3], patient * [-1, -1, 1], atol=1e-2)
    assert seen > 0
    assert sorted(MASK_BITS.values()) == [1, 2, 4, 8, 16]


def test_preview_is_a_picture_with_something_on_it(clinical: Path) -> None:
    with Image.open(clinical / "preview.png") as sheet:
        grey = np.asarray(sheet)
    assert grey.ndim == 2
    assert 0.02 < ((grey > 80) & (grey < 180)).mean() < 0.9


def test_rsna_files_look_like_the_challenge(rsna: Path) -> None:
    paths = sorted((rsna / "stage_2_train").iterdir())
    assert len(paths) == sum(len(_study(index).labels) for index in range(3))
    values = {}
    for path in paths:
        assert re.fullmatch(r"ID_[0-9a-f]{9}\.dcm", path.name)
        dataset = pydicom.dcmread(path)
        with pytest.warns(UserWarning, match="Invalid value for VR UI"):  # as with the real files
            uids = [str(dataset[f"{level}InstanceUID"].value) for level in ("SOP", "Study", "Series")]
        assert uids[0] == path.stem
        assert all(uid.startswith("ID_") for uid in uids)
        assert dataset.PatientID.startswith("ID_")
        assert "SliceThickness" not in dataset
        assert "InstanceNumber" not in dataset
        assert (dataset.PixelRepresentation, int(dataset.RescaleIntercept)) == (1, -1024)
        values[path.stem] = _hu(dataset)
    first = _study(0).volume.values
    rows = _rows(rsna / "labels.csv")
    for number, expected in enumerate(first):
        np.testing.assert_array_equal(values[rows[number]["sop_uid"]], expected)


def test_rsna_labels_agree_with_the_label_table(rsna: Path) -> None:
    table = {row["ID"]: int(row["Label"]) for row in _rows(rsna / "stage_2_train.csv")}
    rows = _rows(rsna / "labels.csv")
    assert len(table) == 6 * len(rows)
    for row in rows:
        for name in LABELS[1:]:
            if row[name]:
                assert table[f"{row['sop_uid']}_{name}"] == int(row[name])
        assert table[f"{row['sop_uid']}_any"] == max(table[f"{row['sop_uid']}_{name}"] for name in LABELS[1:])
    assert any(table.values())


def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(study_module, "render_head", render_head)  # that of the processes
    for name, workers in (("one", 1), ("two", 2)):
        write_phantom(tmp_path / name, 2, seed=4, parameters=SMALL, workers=workers)
    files = _files(tmp_path / "one")
    assert files == _files(tmp_path / "two")
    assert all(filecmp.cmp(tmp_path / "one" / path, tmp_path / "two" / path, shallow=False) for path in files)


def test_a_worker_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A built-in function, so that the processes end before they have imported anything.
    monkeypatch.setattr(pool, "use_one_thread", partial(os._exit, 1))
    with pytest.raises(SlicewiseError, match=r"fewer workers: the studies that are done are kept"):
        write_phantom(tmp_path / "x", 2, parameters=SMALL, workers=2)
    assert not (tmp_path / "x" / "labels.csv").exists()


def test_an_interrupted_call_is_resumed_and_more_studies_can_be_added(tmp_path: Path) -> None:
    made: list[int] = []

    def stop_after_one(items: Iterator[int], **_: object) -> Iterator[int]:
        for item in items:
            yield item
            raise KeyboardInterrupt

    def count(items: Iterator[int], **_: object) -> Iterator[int]:
        for item in items:
            made.append(item)
            yield item

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "x", 2, seed=9, parameters=SMALL, progress=stop_after_one)  # type: ignore[arg-type]  # a test double without the protocol's keywords
    assert not (tmp_path / "x" / "labels.csv").exists()
    for record in (tmp_path / "x" / ".phantom").glob("*.json"):
        assert record.name == "000000.json"
    # As if the call had ended between the files of study 1 and its record.
    write_phantom(tmp_path / "x", 2, seed=9, parameters=SMALL, progress=count)  # type: ignore[arg-type]  # a test double without the protocol's keywords
    (tmp_path / "x" / ".phantom" / "000001.json").unlink()
    write_phantom(tmp_path / "x", 3, seed=9, parameters=SMALL, progress=count)  # type: ignore[arg-type]  # a test double without the protocol's keywords
    assert made == [1, 1, 2]
    write_phantom(tmp_path / "whole", 3, seed=9, parameters=SMALL)
    files = _files(tmp_path / "whole")
    assert files == _files(tmp_path / "x")
    assert all(filecmp.cmp(tmp_path / "x" / path, tmp_path / "whole" / path, shallow=False) for path in files)


def test_a_folder_with_something_else_is_refused(clinical: Path, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(UsageError, match="not a phantom folder"):
        write_phantom(tmp_path, 1, parameters=SMALL)
    with pytest.raises(UsageError, match="other arguments"):
        write_phantom(clinical, 3, seed=5, parameters=SMALL, masks=True)
    with pytest.raises(UsageError, match="at least 3 studies"):
        write_phantom(clinical, 2, seed=4, parameters=SMALL, masks=True)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "phantom.json").write_text(json.dumps({"seed": 1}), encoding="utf-8")
    with pytest.raises(UsageError, match="not written by this version"):
        write_phantom(tmp_path / "old", 1, parameters=SMALL)


def test_arguments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'dicom' is not one of clinical, rsna, cq500"):
        write_phantom(tmp_path / "x", 1, layout="dicom")
    with pytest.raises(UsageError, match="studies"):
        write_phantom(tmp_path / "x", 0)
    assert not (tmp_path / "x").exists()


def test_masks_without_nibabel_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"slicewise\[phantom\]"):
        write_phantom(tmp_path / "x", 1, masks=True)
    assert not (tmp_path / "x").exists()
