from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest

from dicom_files import make_enhanced, write_dataset, write_series
from slicewise.imaging.acquisition import Acquisition, age_in_years, read_acquisition, short_manufacturer
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.series import Series, group_studies


def series_of(folder: Path) -> Series:
    headers = [item for item in discover([folder]) if isinstance(item, SliceHeader)]
    ((series,),) = [study.series for study in group_studies(headers)]
    return series


def read(folder: Path, **tags: Any) -> Acquisition | None:
    write_series(folder / "scan", slices=3, matrix=8, **tags)
    return read_acquisition(series_of(folder))


def test_everything_is_read(tmp_path: Path) -> None:
    tags = {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ManufacturerModelName": "LightSpeed VCT",
        "SeriesDescription": "HEAD 5MM",
        "ConvolutionKernel": "STANDARD",
        "SliceThickness": 2.5,
        "PatientAge": "063Y",
        "PatientSex": "F",
        "KVP": "120",
    }
    assert read(tmp_path, **tags) == Acquisition(
        manufacturer="GE",
        manufacturer_text="GE MEDICAL SYSTEMS",
        model_name="LightSpeed VCT",
        series_description="HEAD 5MM",
        kernel="STANDARD",
        slice_thickness_mm=2.5,
        age_years=63.0,
        sex="F",
        kvp=120.0,
    )


def test_what_is_absent_or_malformed_is_left_out(tmp_path: Path) -> None:
    absent = {"SeriesDescription": None, "ConvolutionKernel": None, "SliceThickness": None}
    assert read(tmp_path, **absent) == Acquisition()
    wrong = {
        "PatientAge": "old",
        "PatientSex": "X",
        "KVP": "0",
        "PatientBirthDate": "19500101",
        "StudyDate": "00000000",
    }
    assert read(tmp_path, **absent, **wrong) == Acquisition()


def test_nothing_that_names_a_patient_is_kept(tmp_path: Path) -> None:
    dates = {"PatientBirthDate": "19211231", "StudyDate": "20200101", "AccessionNumber": "A-77", "PatientAge": None}
    found = read(tmp_path, **dates, PatientName="Doe^Jane", InstitutionName="St. Elsewhere")
    assert found is not None
    assert found.age_years == 90.0  # 98 years old
    text = msgspec.json.encode(found).decode()
    assert not any(secret in text for secret in ("Doe", "1921", "2020", "A-77", "Elsewhere", "P1"))


@pytest.mark.parametrize(
    ("age", "dates", "expected"),
    [
        ("063Y", (), 63.0),
        ("012M", (), 1.0),
        ("018m", (), 1.5),
        ("026M", (), 2.0),
        ("006W", (), 0.1),
        ("000D", (), 0.0),
        ("089Y", (), 89.0),
        ("090Y", (), 90.0),
        ("101Y", (), 90.0),
        ("000Y", (), None),
        ("000Y", ("19800615", "20200614"), 39.0),
        ("", ("19800615", "20200615"), 40.0),
        ("", ("1980.06.15", "20200615"), 40.0),
        ("", ("20190615", "20201214"), 1.5),
        ("", ("20210615", "20201214"), None),
        ("", ("18000101", "20201214"), None),
        ("999Y", (), None),
        ("63", (), None),
        ("", ("", "20201214"), None),
    ],
)
def test_ages(age: str, dates: tuple[str, ...], expected: float | None) -> None:
    assert age_in_years(age, *dates) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("General Electric Medical Systems", "GE"),
        ("siemens healthineers", "Siemens"),
        ("Philips Medical Systems", "Philips"),
        ("TOSHIBA", "Canon"),
        ("Canon Medical Systems", "Canon"),
        ("Hitachi Medical Corporation", "Fujifilm"),
        ("NeuroLogica", "Samsung"),
        ("GENORAY", "Genoray"),
        ("  ", ""),
    ],
)
def test_manufacturers(text: str, name: str) -> None:
    assert short_manufacturer(text) == name


def test_the_next_file_is_read_where_the_first_has_gone(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3, matrix=8, Manufacturer="SIEMENS")
    series = series_of(tmp_path)
    first, second, third = dict.fromkeys(header.source for header in series.headers)
    Path(first.path).unlink()
    found = read_acquisition(series)
    assert found is not None
    assert found.manufacturer == "Siemens"
    Path(second.path).unlink()
    Path(third.path).write_bytes(b"damaged")
    assert read_acquisition(series) is None


def test_an_archive_is_read_too(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "scan", slices=1, matrix=8, Manufacturer="Philips")
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "scan.zip", "w") as archive:
        archive.write(path, "a.dcm")
    found = read_acquisition(series_of(tmp_path / "in"))
    assert found is not None
    assert found.manufacturer == "Philips"


def test_an_enhanced_image_tells_kernel_and_thickness_of_its_frames(tmp_path: Path) -> None:
    pixels = np.zeros((3, 8, 8), dtype=np.int16)
    write_dataset(tmp_path / "a.dcm", make_enhanced(pixels, Manufacturer="TOSHIBA"))
    found = read_acquisition(series_of(tmp_path))
    assert found is not None
    assert (found.manufacturer, found.kernel, found.slice_thickness_mm) == ("Canon", "H30s", 5.0)


def test_nifti_tells_nothing(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.full((8, 8, 4), -1000, np.int16), np.diag([-1.0, -1.0, 5.0, 1.0]))  # type: ignore[no-untyped-call]
    nibabel.save(image, tmp_path / "case.nii")
    assert read_acquisition(series_of(tmp_path)) is None


def test_a_real_scan(shared_data: Path) -> None:
    found = read_acquisition(series_of(shared_data / "ct_head" / "ge_tilted_variable_spacing"))
    assert found is not None
    assert found.manufacturer == "GE"
    assert found.kernel
    assert found.slice_thickness_mm
