from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from dicom_files import head_values, write_series
from slicewise.errors import UnreadableFileError
from slicewise.imaging.nifti import decode_nifti
from slicewise.reporting.rereading import read_slices
from slicewise.source import Source


def test_a_file_is_read_with_its_header(tmp_path: Path) -> None:
    path = write_series(tmp_path, slices=3)[1]
    (found,) = read_slices(Source(str(path), path.name), [1], "CT")
    assert not isinstance(found, UnreadableFileError)
    header, values = found
    assert header.file == path.name
    np.testing.assert_array_equal(values, head_values(3)[1])


def test_frames_of_one_file_are_decoded_at_once_in_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = np.arange(4 * 6 * 5, dtype=np.int16).reshape(4, 6, 5)
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "mr.nii.gz")  # type: ignore[no-untyped-call]
    calls = []

    def decode(*given: Any) -> Iterator[Any]:
        calls.append(given)
        return decode_nifti(*given)

    monkeypatch.setattr("slicewise.reporting.rereading.decode_nifti", decode)
    source = Source(str(tmp_path / "mr.nii.gz"), "mr.nii.gz")
    found = list(read_slices(source, [3, 9, 1], "MR"))
    third, absent, first = found
    assert isinstance(absent, UnreadableFileError)
    assert str(absent) == "mr.nii.gz: has no frame 9 any more."
    assert not isinstance(third, UnreadableFileError)
    assert not isinstance(first, UnreadableFileError)
    assert (third[0].frame, first[0].frame) == (3, 1)
    assert sorted(third[1].ravel()) == sorted(stored[:, :, 2].ravel())
    assert sorted(first[1].ravel()) == sorted(stored[:, :, 0].ravel())
    assert len(calls) == 1


def test_every_frame_of_a_file_that_cannot_be_decoded_has_the_reason(tmp_path: Path) -> None:
    stored = np.ones((4, 6, 5), dtype=np.int16)  # no air: no CT
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "ct.nii")  # type: ignore[no-untyped-call]
    found = list(read_slices(Source(str(tmp_path / "ct.nii"), "ct.nii"), [1, 2], "CT"))
    assert [isinstance(item, UnreadableFileError) and item.reason for item in found] == ["not_hounsfield"] * 2
    missing = list(read_slices(Source(str(tmp_path / "gone.dcm"), "gone.dcm"), [1, 2], "CT"))
    assert [isinstance(item, UnreadableFileError) and item.reason for item in missing] == ["unreadable_path"] * 2
