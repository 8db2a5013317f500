from __future__ import annotations

import copy
from pathlib import Path

import pydicom
import pytest

from dicom_files import write_series
from slicewise.errors import InputError
from slicewise.imaging.datasets import write_datasets
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader


def headers(folder: Path) -> list[SliceHeader]:
    found = [item for item in discover([folder]) if isinstance(item, SliceHeader)]
    return sorted(found, key=lambda item: item.sop_uid)


@pytest.mark.parametrize("with_meta", [True, False])
def test_what_is_read_of_datasets_is_what_is_read_of_their_files(tmp_path: Path, *, with_meta: bool) -> None:
    paths = write_series(tmp_path / "files", slices=4)
    datasets = [pydicom.dcmread(path) for path in paths]
    if not with_meta:  # as they come over the network
        for dataset in datasets:
            del dataset.file_meta
    before = copy.deepcopy(datasets)
    (tmp_path / "out").mkdir()
    write_datasets(iter(datasets), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{place:06d}.dcm" for place in range(4)]
    for found, expected in zip(headers(tmp_path / "out"), headers(tmp_path / "files"), strict=True):
        assert (found.sop_uid, found.image_position, found.rows) == (
            expected.sop_uid,
            expected.image_position,
            expected.rows,
        )
    assert datasets == before
    assert all(hasattr(dataset, "file_meta") == with_meta for dataset in datasets)


def test_a_dataset_that_is_no_image_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset 0: cannot be written as a DICOM file"):
        write_datasets([pydicom.Dataset()], tmp_path)
