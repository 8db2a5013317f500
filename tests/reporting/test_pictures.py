from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pytest
from PIL import Image

from dicom_files import INTERCEPT, write_series
from slicewise.imaging.reasons import REASONS
from slicewise.reporting.anonymous import anonymous_results
from slicewise.reporting.pictures import Picture, PictureSet, StudyPictures, slice_key, slice_pictures
from slicewise.results import ModelSummary, Results, StudyResult
from slicewise.source import Source
from slicewise.task import Task, load_task

MakeStudy = Callable[..., StudyResult]
MakeResults = Callable[..., Results]


def decoded(picture: Picture) -> Image.Image:
    kind, _, content = picture.data_uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert image.size == (picture.width, picture.height)
    return image


def only(pictures: Iterable[StudyPictures]) -> PictureSet:
    (study,) = pictures
    (single,) = study.values()
    return single


def flag(model: ModelSummary, *indices: int) -> dict[int, dict[str, float]]:
    return {index: {model.labels[1]: 0.9} for index in indices}


@pytest.fixture
def flag_slices(
    scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> Callable[..., dict[Any, PictureSet]]:
    """Makes the pictures of the given slices of the scan."""

    def make(*indices: int, anonymous: bool = False) -> dict[Any, PictureSet]:
        results = make_results(make_study(*scan, flag(model, *indices)))
        if anonymous:
            results = anonymous_results(results, bytes(32))
        (pictures,) = slice_pictures(results, task)
        keys = [slice_key(results.studies[0].series[0].slices[index]) for index in indices]
        return {key: pictures[key] for key in keys}

    return make


def test_flagged_slices_are_shown_large_and_all_can_be_scrolled_through(
    scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    study = make_study(*scan, flag(model, 1, 4))
    (pictures,) = slice_pictures(make_results(study), task)
    assert list(pictures) == [slice_key(item) for item in study.series[0].slices]
    assert [len(item.pictures) for item in pictures.values()] == [0, 2, 0, 0, 2, 0]
    assert all(item.scroll is not None and not item.problem for item in pictures.values())


def test_pictures_show_the_first_two_windows_of_the_task(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    """Four vertical bands of known HU; brain 40/80 spans 0 to 80 HU, subdural 80/200 spans -20 to 180 HU."""
    bands = np.repeat(np.array([-100.0, 20.0, 60.0, 300.0], dtype=np.float32), 16)
    (path,) = write_series(tmp_path, values=np.broadcast_to(bands, (1, 64, 64)))
    result = only(slice_pictures(make_results(make_study(tmp_path, [path.name], flag(model, 0))), task))
    expected = {"Brain": (0.0, 63.75, 191.25, 255.0), "Subdural": (0.0, 51.0, 102.0, 255.0)}
    for picture, (name, greys) in zip(result.pictures, expected.items(), strict=True):
        assert picture.caption.startswith(f"{name} window, center ")
        assert picture.caption.endswith("0 HU")
        pixels = np.asarray(decoded(picture), dtype=np.float64)
        assert pixels[20:44, [8, 24, 40, 56]].mean(axis=0) == pytest.approx(greys, abs=3.0)


def scaled(study: StudyResult, scale: float) -> StudyResult:
    """Gives the one series of a study an intensity scale."""
    (series,) = study.series
    return msgspec.structs.replace(study, series=(msgspec.structs.replace(series, intensity_scale=scale),))


def test_pictures_of_a_relative_task_are_scaled_as_its_input_is(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary
) -> None:
    """Bands of 0, 200, 600 and 3000 after scaling; the windows span 0 to 3000 and 400 to 1600."""
    bands = np.repeat(np.array([0.0, 20.0, 60.0, 300.0], dtype=np.float32), 16)
    values = np.broadcast_to(bands + np.float32(INTERCEPT), (1, 64, 64))
    (path,) = write_series(tmp_path, values=values, Modality="MR", RescaleSlope=None, RescaleIntercept=None)
    study = scaled(make_study(tmp_path, [path.name], flag(model, 0)), 10.0)
    result = only(slice_pictures(make_results(study), load_task("mri_tumor")))
    expected = {"Whole range": (0.0, 17.0, 51.0, 255.0), "Brain": (0.0, 0.0, 42.5, 255.0)}
    for picture, (name, greys) in zip(result.pictures, expected.items(), strict=True):
        assert picture.caption.startswith(f"{name} window, center ")
        assert picture.caption.endswith("00 thousandths of the reference of the series")
        pixels = np.asarray(decoded(picture), dtype=np.float64)
        assert pixels[20:44, [8, 24, 40, 56]].mean(axis=0) == pytest.approx(greys, abs=3.0)


def test_every_series_has_a_scale_of_its_own(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary
) -> None:
    studies = []
    for number, level in enumerate((50.0, 400.0)):
        folder = tmp_path / f"{number}"
        values = np.full((1, 32, 32), level + INTERCEPT, dtype=np.float32)
        (path,) = write_series(folder, values=values, Modality="MR", RescaleSlope=None, RescaleIntercept=None)
        study = make_study(folder, [path.name], flag(model, 0), study_uid=f"1.{number}", series_uid=f"1.{number}.1")
        studies.append(scaled(study, 1000.0 / level))
    for pictures in slice_pictures(make_results(*studies), load_task("mri_tumor")):
        (result,) = pictures.values()
        assert np.asarray(decoded(result.pictures[0])).mean() == pytest.approx(85.0, abs=2.0)  # 1000 of 3000


def test_pictures_keep_the_proportions_in_mm(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    paths = write_series(tmp_path, slices=1, PixelSpacing=[2.0, 1.0])  # rows lie 2 mm apart, columns 1 mm
    result = only(slice_pictures(make_results(make_study(tmp_path, [paths[0].name], flag(model, 0))), task))
    for picture in result.pictures:
        assert (picture.width, picture.height) == (32, 64)
        decoded(picture)


def test_pictures_become_smaller_where_there_are_many(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    (path,) = write_series(tmp_path, slices=1, matrix=400)
    sizes = []
    for count in (1, 41, 121):
        study = make_study(tmp_path, [path.name] * count, flag(model, *range(count)))
        (pictures,) = slice_pictures(make_results(study), task)
        first = next(iter(pictures.values()))
        sizes.append(first.pictures[0].width)
    assert sizes[0] > sizes[1] > sizes[2] >= 200


@pytest.mark.parametrize(("one_page", "widths"), [(True, (256, 256)), (False, (320, 320))])
def test_pictures_to_scroll_to_are_as_many_as_their_page_shows(
    tmp_path: Path,
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
    *,
    one_page: bool,
    widths: tuple[int, int],
) -> None:
    (path,) = write_series(tmp_path, slices=1, matrix=400)
    studies = [make_study(tmp_path, [path.name] * 41, study_uid=f"1.{number}") for number in range(2)]
    made = slice_pictures(make_results(*studies), task, one_page=one_page)
    first = [next(iter(pictures.values())).scroll for pictures in made]
    assert tuple(picture.width for picture in first if picture is not None) == widths


def test_a_slice_whose_file_is_not_known_has_a_reason(
    scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    study = msgspec.structs.replace(make_study(*scan, flag(model, 0)), sources={})
    (pictures,) = slice_pictures(make_results(study), task)
    assert {item.problem for item in pictures.values()} == {"Where this file lies is not known."}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be opened"), (b"no image" * 100, "DICOM"), ("half", "ends early")],
)
def test_a_picture_that_cannot_be_made_has_a_reason(
    scan: tuple[Path, list[str]],
    flag_slices: Callable[..., dict[Any, PictureSet]],
    content: bytes | str | None,
    reason: str,
) -> None:
    folder, files = scan
    broken = folder / files[2]
    whole = broken.read_bytes()
    broken.unlink()
    if content is not None:
        broken.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    good, bad = flag_slices(1, 2).values()
    assert good.pictures
    assert bad.pictures == ()
    assert files[2] in bad.problem
    assert reason in bad.problem
    assert str(folder) not in bad.problem


def test_anonymous_results_show_the_same_pictures_and_name_no_file(
    scan: tuple[Path, list[str]], flag_slices: Callable[..., dict[Any, PictureSet]]
) -> None:
    folder, files = scan
    (folder / files[2]).unlink()
    named, missing = flag_slices(1, 2).values()
    same, without_name = flag_slices(1, 2, anonymous=True).values()
    assert same == named
    assert files[2] in missing.problem
    assert without_name.problem == REASONS["unreadable_path"]


def test_a_slice_of_an_archive_is_shown(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    paths = write_series(tmp_path / "scan", slices=3)
    study = make_study(tmp_path / "scan", [path.name for path in paths], flag(model, 1))
    key = slice_key(study.series[0].slices[1])
    (expected,) = slice_pictures(make_results(study), task)
    assert expected[key].pictures
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in reversed(paths):
            archive.write(path, path.name)
    source = Source(str(tmp_path / "scan.zip"), paths[1].name, entry=1)  # three entries, the last slice first
    study = msgspec.structs.replace(study, sources={key[0]: source})
    (pictures,) = slice_pictures(make_results(study), task)
    assert pictures[key] == expected[key]


def test_pictures_report_progress(
    scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    totals = []

    def progress(
        items: Iterable[Any],
        *,
        description: str,
        total: int | None = None,
        unit: str = "slice",
        initial: int = 0,
        **_: object,
    ) -> Iterator[Any]:
        totals.append((description, total, unit, initial))
        yield from items

    list(slice_pictures(make_results(make_study(*scan, flag(model, 0, 3, 5))), task, progress))
    assert totals == [("pictures", 6, "slice", 0)]


def test_slices_of_a_nifti_file_are_those_of_the_task(
    tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, model: ModelSummary, task: Task
) -> None:
    # Grey values of an MR: as a CT they would be refused, for want of air in Hounsfield units.
    stored = np.arange(4 * 6 * 5, dtype=np.int16).reshape(4, 6, 5)
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "mr.nii.gz")  # type: ignore[no-untyped-call]
    results = make_results(make_study(tmp_path, ["mr.nii.gz"], flag(model, 0)))
    mr = msgspec.structs.replace(task, series=msgspec.structs.replace(task.series, modality="MR"))
    assert not only(slice_pictures(results, mr)).problem
    assert "Hounsfield" in only(slice_pictures(results, task)).problem
