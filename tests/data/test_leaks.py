from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.data.leaks import SeriesKey, check_no_leak, leak_warnings, linked_patients
from slicewise.errors import DatasetError


def series(patient: str, image: str, study: str = "") -> SeriesKey:
    return SeriesKey(patient, study or f"study of {patient}", f"{patient}/{image}", image)


def test_patients_are_linked_by_images_in_a_chain() -> None:
    found = linked_patients([series("C", "1"), series("B", "1"), series("B", "2"), series("A", "2"), series("D", "3")])
    assert found == {"C": "A", "B": "A", "A": "A", "D": "D"}


@given(st.lists(st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from("1234567")), max_size=20))
def test_links_are_those_of_a_graph(pairs: list[tuple[str, str]]) -> None:
    links = linked_patients(series(patient, image) for patient, image in pairs)
    reached = {patient: {patient} for patient, _ in pairs}
    for _ in pairs:  # as often as the longest chain may need
        for one, image in pairs:
            for other, same in pairs:
                if image == same:
                    reached[one] |= reached[other]
    assert links == {patient: min(others) for patient, others in reached.items()}


def test_shared_images_and_studies_are_told() -> None:
    found = leak_warnings([series("A", "1", "s"), series("B", "1", "s"), series("C", "2")])
    assert [warning.code for warning in found] == ["shared_images", "shared_study_uid"]
    assert leak_warnings([series("A", "1"), series("A", "1"), series("B", "2")]) == ()


def test_one_image_in_both_parts_is_refused() -> None:
    both = [series("A", "1"), series("B", "1")]
    check_no_leak(both, {"A": "train", "B": "train"})
    with pytest.raises(DatasetError, match="patient B is in 'test' and has the same images as patient A in 'train'"):
        check_no_leak(both, {"A": "train", "B": "test"})
