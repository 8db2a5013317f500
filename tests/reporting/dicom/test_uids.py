from __future__ import annotations

import pydicom
import pytest

from slicewise.reporting.dicom.uids import derived_uid, is_valid_uid


def test_derived_uids_are_valid_and_follow_from_all_their_parts() -> None:
    uids = [derived_uid(*parts) for parts in [("a",), ("b",), ("a", "b"), ("ab",), ("a", "", "b"), ("",), ()]]
    assert len(set(uids)) == len(uids) - 1  # no part and an empty one are the same
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


@pytest.mark.parametrize("text", ["", ".", "..", "1..2", "1.2.", "01.2", "1.2.03", "ID_1", "1.2/3", "1.2\n", "1" * 65])
def test_what_is_no_uid(text: str) -> None:
    assert not is_valid_uid(text)


@pytest.mark.parametrize("text", ["1.2.3", "2.25.0", "1.0.0", "1." + "2" * 62])
def test_what_is_a_uid(text: str) -> None:
    assert is_valid_uid(text)
