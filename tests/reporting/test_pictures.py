from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from dicom_files import write_series
from slicewise.reporting.pictures import Picture, PictureSet, flagged_pictures, slice_key
from slicewise.results import ModelSummary, StudyResult
from slicewise.task import Task

MakeStudy = Callable[..., StudyResult]


def decoded(picture: Picture) -> Image.Image:
    kind, _, content = picture.data_uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert image.size == (picture.width, picture.height)
    return image


def only(pictures: dict[Any, PictureSet]) -> PictureSet:
    (single,) = pictures.values()
    return single


def flag(model: ModelSummary, *indices: int) -> dict[int, dict[str, float]]:
    return {index: {model.labels[1]: 0.9} for index in indices}


@pytest.fixture
def flag_slices(
    scan: tuple[Path, list[str]], make_study: MakeStudy, model: ModelSummary, task: Task
) -> Callable[..., dict[Any, PictureSet]]:
    """Makes the pictures of the given slices of the scan."""
    return lambda *indices: flagged_pictures([make_study(*scan, flag(model, *indices))], model, task.channels)


def test_pictures_are_made_of_flagged_slices_only(
    scan: tuple[Path, list[str]], make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    study = make_study(*scan, flag(model, 1, 4))
    pictures = flagged_pictures([study], model, task.channels)
    slices = study.series[0].slices
    assert list(pictures) == [slice_key(study, slices[1]), slice_key(study, slices[4])]
    assert all(len(item.pictures) == 2 and not item.problem for item in pictures.values())


def test_pictures_show_the_first_two_windows_of_the_task(
    tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    """Four vertical bands of known HU; brain 40/80 spans 0 to 80 HU, subdural 80/200 spans -20 to 180 HU."""
    bands = np.repeat(np.array([-100.0, 20.0, 60.0, 300.0], dtype=np.float32), 16)
    (path,) = write_series(tmp_path, values=np.broadcast_to(bands, (1, 64, 64)))
    result = only(flagged_pictures([make_study(tmp_path, [path.name], flag(model, 0))], model, task.channels))
    expected = {"Brain": (0.0, 63.75, 191.25, 255.0), "Subdural": (0.0, 51.0, 102.0, 255.0)}
    for picture, (name, greys) in zip(result.pictures, expected.items(), strict=True):
        assert picture.caption.startswith(f"{name} window, center ")
        pixels = np.asarray(decoded(picture), dtype=np.float64)
        assert pixels[20:44, [8, 24, 40, 56]].mean(axis=0) == pytest.approx(greys, abs=3.0)


def test_pictures_keep_the_proportions_in_mm(
    tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    paths = write_series(tmp_path, slices=1, PixelSpacing=[2.0, 1.0])  # rows lie 2 mm apart, columns 1 mm
    result = only(flagged_pictures([make_study(tmp_path, [paths[0].name], flag(model, 0))], model, task.channels))
    for picture in result.pictures:
        assert (picture.width, picture.height) == (32, 64)
        decoded(picture)


def test_pictures_become_smaller_where_there_are_many(
    tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    (path,) = write_series(tmp_path, slices=1, matrix=400)
    sizes = []
    for count in (1, 41, 121):
        study = make_study(tmp_path, [path.name] * count, flag(model, *range(count)))
        first = next(iter(flagged_pictures([study], model, task.channels).values()))
        sizes.append(first.pictures[0].width)
    assert sizes[0] > sizes[1] > sizes[2] >= 200


def test_a_slice_whose_file_is_not_known_has_a_reason(
    scan: tuple[Path, list[str]], make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    study = msgspec.structs.replace(make_study(*scan, flag(model, 0)), paths={})
    assert (
        only(flagged_pictures([study], model, task.channels)).problem
        == f"{scan[1][0]}: where this file lies is not known."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is no such file"), (b"no image" * 100, "DICOM"), ("half", "ends early")],
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


def test_pictures_report_progress(
    scan: tuple[Path, list[str]], make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    totals = []

    def progress(
        items: Iterable[Any], *, description: str, total: int | None = None, unit: str = "slice", initial: int = 0
    ) -> Iterator[Any]:
        totals.append((description, total, unit, initial))
        yield from items

    flagged_pictures([make_study(*scan, flag(model, 0, 3, 5))], model, task.channels, progress)
    assert totals == [("pictures", 3, "slice", 0)]
