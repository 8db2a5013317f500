from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from phantom_heads import simple_head
from slicewise.data.prepare import prepare
from slicewise.data.store import SERIES, Dataset, folder_name
from slicewise.errors import UsageError
from slicewise.phantom import study as study_module
from slicewise.phantom.dataset import write_phantom_dataset
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.phantom.writer import write_phantom
from slicewise.task import Task, load_task

STUDIES = 6
TASK = load_task("ich")
SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=128", "geometry.slices=[6, 8]", "geometry.thin=0", "geometry.medium=0.3"),
        *("hemorrhage.positive_share=0.7", "headers.second_series=0.5", "physics.circle=0.5"),
    ],
)


@pytest.fixture(scope="module", autouse=True)
def _simple_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        yield


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("direct") / "dataset"
    write_phantom_dataset(output, STUDIES, TASK, seed=5, parameters=SMALL, holdout=0.25)
    return output


def test_the_dataset_equals_what_prepare_makes_of_the_dicom(direct: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", STUDIES, seed=5, parameters=SMALL)
    labels = tmp_path / "phantom" / "labels.csv"
    prepare(tmp_path / "dataset", "table", [tmp_path / "phantom" / "dicom"], labels, TASK, holdout=0.25, seed=5)
    one, other = Dataset.open(direct), Dataset.open(tmp_path / "dataset")
    assert one.splits == other.splits
    assert len(one.records) == STUDIES
    # Where the slices come from is what differs, and that no masks were given.
    origin = {"source_digest": "", "slices": (), "masks_digest": ""}
    for mine, theirs in zip(one.records, other.records, strict=True):
        assert msgspec.structs.replace(mine, **origin) == msgspec.structs.replace(theirs, **origin)
        assert [item.sop_uid for item in mine.slices] == [item.sop_uid for item in theirs.slices]
        np.testing.assert_array_equal(one.input(mine).values, other.input(theirs).values)


def test_masks_hold_the_blood_of_every_row(direct: Path) -> None:
    dataset = Dataset.open(direct)
    size, seen = TASK.preprocessing.size // 8, 0
    for index in range(STUDIES):
        study = generate_study(5, index, SMALL)
        record = next(item for item in dataset.records if item.series_uid == study.volume.series_uid)
        masks = np.load(direct / SERIES / folder_name(record.series_uid) / "masks.npy")
        assert masks.dtype == np.uint8
        assert masks.shape == (len(record.row_positions_mm), len(TASK.label_names), size, size)
        slab = np.array(record.slab_of_slice)
        for name, occupancy in study.occupancy.items():
            area = occupancy.sum(axis=(1, 2)) * study.geometry.pixel_mm**2
            expected = np.bincount(slab, area) / np.bincount(slab)
            found = (
                masks[:, TASK.label_names.index(name)].sum(axis=(1, 2)) / 255 * (8 * TASK.preprocessing.pixel_mm) ** 2
            )
            np.testing.assert_allclose(found, expected, atol=6.0, rtol=0.03)
            seen += area.max() > 50
        subtypes = masks[:, 1:].astype(int).sum(axis=1)
        np.testing.assert_allclose(masks[:, 0], np.minimum(subtypes, 255), atol=3)
    assert seen


def test_more_studies_can_be_added_and_what_is_whole_is_kept(direct: Path, tmp_path: Path) -> None:
    made: list[int] = []

    def count(items: Iterator[int], **_: object) -> Iterator[int]:
        for item in items:
            made.append(item)
            yield item

    output = tmp_path / "dataset"
    write_phantom_dataset(output, 4, TASK, seed=5, parameters=SMALL, holdout=0.25, progress=count)  # type: ignore[arg-type]  # a test double without the protocol's keywords
    first = Dataset.open(output).splits
    broken = next((output / SERIES).iterdir()) / "masks.npy"
    broken.unlink()
    write_phantom_dataset(output, STUDIES, TASK, seed=5, parameters=SMALL, holdout=0.25, progress=count)  # type: ignore[arg-type]  # a test double without the protocol's keywords
    assert len(made) == 4 + 1 + 2
    assert sorted(made[5:]) == [4, 5]
    grown, whole = Dataset.open(output), Dataset.open(direct)
    assert grown.records == whole.records
    assert {patient: grown.splits[patient] for patient in first} == first
    for mine in sorted((direct / SERIES).iterdir()):
        np.testing.assert_array_equal(np.load(mine / "masks.npy"), np.load(output / SERIES / mine.name / "masks.npy"))


def test_what_does_not_fit_is_told(direct: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other arguments"):
        write_phantom_dataset(direct, STUDIES, TASK, seed=6, parameters=SMALL)
    with pytest.raises(UsageError, match="know nothing about 'tumor'"):
        write_phantom_dataset(tmp_path / "x", 1, _task_with_tumor())
    with pytest.raises(UsageError, match="holdout 2"):
        write_phantom_dataset(tmp_path / "x", 1, TASK, holdout=2.0)
    assert not (tmp_path / "x").exists()


def _task_with_tumor() -> Task:
    labels = (*TASK.labels[:-1], msgspec.structs.replace(TASK.labels[-1], name="tumor"))
    return msgspec.structs.replace(TASK, labels=labels)
