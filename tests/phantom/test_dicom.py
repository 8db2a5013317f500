from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from phantom_heads import simple_head
from slicewise.imaging.discover import discover
from slicewise.imaging.load import load_volume
from slicewise.imaging.series import choose_series, group_studies
from slicewise.phantom import study as study_module
from slicewise.phantom.header_styles import CANON, GE, PHILIPS, SIEMENS, HeaderStyle, Storage
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.phantom.writer import write_phantom
from slicewise.results import Rejection
from slicewise.task import load_task

STYLES = {"ge": GE, "siemens": SIEMENS, "philips": PHILIPS, "canon": CANON}
FULL = ("headers.localizer=1", "headers.second_series=1", "headers.dose_report=1")


def _parameters(*settings: str) -> PhantomParameters:
    small = (
        *("geometry.matrix=64", "geometry.slices=[6, 8]", "geometry.thin=0", "geometry.medium=0", "geometry.thick=0"),
        "geometry.changing=0",
    )
    return override_parameters(PhantomParameters(), [*small, *settings])


def _only(manufacturer: str) -> list[str]:
    return [f"headers.{name}={int(name == manufacturer)}" for name in STYLES]


@pytest.fixture(scope="module", autouse=True)
def _simple_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        yield


@pytest.fixture(scope="module", params=sorted(STYLES))
def of_style(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PhantomParameters]:
    """Three whole studies with the habits of one manufacturer."""
    parameters = _parameters(*_only(request.param), *FULL, "physics.circle=1")
    output = tmp_path_factory.mktemp("styles") / str(request.param)
    write_phantom(output, 3, seed=6, parameters=parameters)
    return output, parameters


def test_dciodvfy_finds_no_error(of_style: tuple[Path, PhantomParameters]) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    for folder in sorted((of_style[0] / "dicom").glob("*/*/*")):
        path = min(folder.iterdir())
        done = subprocess.run([validator, "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], pydicom.dcmread(path).SeriesDescription


def test_a_reader_finds_the_study_as_it_was_in_memory(of_style: tuple[Path, PhantomParameters]) -> None:
    output, parameters = of_style
    headers = [item for item in discover([output / "dicom"]) if not isinstance(item, Rejection)]
    studies = group_studies(headers)
    assert len(studies) == 3
    known = {study.volume.study_uid: study for study in (generate_study(6, index, parameters) for index in range(3))}
    for found in studies:
        assert len(found.series) == 4
        chosen = [decision.series for decision in choose_series(found, load_task("ich").series, []) if decision.chosen]
        volume, rejected = load_volume(chosen[0])
        assert rejected == ()
        expected = known[found.study_uid].volume
        assert (volume.series_uid, volume.patient_id) == (expected.series_uid, expected.patient_id)
        np.testing.assert_array_equal(volume.values, expected.values)
        np.testing.assert_array_equal(volume.positions_mm, expected.positions_mm)
        assert volume.pixel_spacing_mm == expected.pixel_spacing_mm
        assert volume.tilt_degrees == expected.tilt_degrees
        assert [item.sop_uid for item in volume.slices] == [item.sop_uid for item in expected.slices]


def test_every_file_says_that_it_is_no_patient(of_style: tuple[Path, PhantomParameters]) -> None:
    for path in sorted((of_style[0] / "dicom").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName).startswith("PHANTOM^SYNTHETIC")
        assert "not a patient" in dataset.ImageComments
        assert dataset.QualityControlImage == "YES"
        assert dataset.PatientID.startswith("PHANTOM-")
        assert "phantom" in dataset.ManufacturerModelName


def test_what_stands_beside_the_main_series(of_style: tuple[Path, PhantomParameters]) -> None:
    folders = sorted((of_style[0] / "dicom").glob("*/*/*"))
    kinds = [pydicom.dcmread(min(folder.iterdir()), stop_before_pixels=True) for folder in folders]
    types = ["\\".join(item.ImageType) for item in kinds]
    assert sum("LOCALIZER" in kind for kind in types) == 3
    assert sum("SCREEN SAVE" in kind for kind in types) == 3
    assert sum(item.SeriesNumber == 2 for item in kinds) == 3


@pytest.mark.parametrize(
    ("storage", "lowest", "highest"),
    [
        (Storage(16, signed=True, intercept=-1024, padding=-2000), -1024, 3071),
        (Storage(12, signed=False, intercept=-1024), -1024, 3071),
        (Storage(12, signed=False, intercept=-1000), -1000, 3071),
        (Storage(16, signed=True, intercept=0, padding=-2048), -1024, 3071),
    ],
)
def test_stored_values_give_the_hounsfield_units_back(storage: Storage, lowest: int, highest: int) -> None:
    hu = storage.quantise(np.array([[-5000.0, -999.6, 0.4], [37.5, 3000.0, 9000.0]], dtype=np.float32))
    assert (hu.min(), hu.max()) == (lowest, highest)
    stored = storage.stored(hu, None)
    assert stored.dtype == ("<i2" if storage.signed else "<u2")
    assert (stored.min() if not storage.signed else 0) >= 0
    assert stored.max() < 2**storage.bits_stored
    np.testing.assert_array_equal(stored.astype(float) + storage.intercept, hu)
    outside = np.zeros((2, 3), dtype=bool)
    outside[0, 0] = True
    corner = int(storage.stored(hu, outside)[0, 0])
    assert corner == (lowest - storage.intercept if storage.padding is None else storage.padding)


def test_habits_differ_where_manufacturers_do() -> None:
    styles: tuple[HeaderStyle, ...] = tuple(STYLES.values())
    assert {style.storage.bits_stored for style in styles} == {12, 16}
    assert {style.storage.intercept for style in styles} == {-1024, -1000, 0}
    assert any(len(style.windows["brain"]) > 1 for style in styles)
    assert any(len(style.character_set) > 1 for style in styles)


def test_values_of_the_challenge_can_wrap_at_12_bits(tmp_path: Path) -> None:
    parameters = _parameters(*_only("philips"), "physics.circle=0")
    write_phantom(tmp_path / "x", 1, seed=6, layout="rsna", parameters=parameters)
    headers = [item for item in discover([tmp_path / "x" / "stage_2_train"]) if not isinstance(item, Rejection)]
    series = group_studies(headers)[0].series[0]
    volume, _ = load_volume(series)
    assert "wrapped_12_bit" in [warning.code for warning in volume.warnings]
    np.testing.assert_array_equal(volume.values, generate_study(6, 0, parameters).volume.values)
