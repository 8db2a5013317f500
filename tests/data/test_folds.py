from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.data.folds import patient_folds
from slicewise.errors import DatasetError

PATIENTS = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 2), min_size=7, max_size=60)


@settings(deadline=None, max_examples=50)  # the first call imports, and the machine may be busy
@given(PATIENTS, st.integers(1, 7), st.integers(0, 2**32))
def test_folds_are_balanced_overall_and_in_every_stratum(patients: dict[str, int], folds: int, seed: int) -> None:
    assigned = patient_folds(patients, folds, seed)
    assert assigned.keys() == patients.keys()
    assert set(assigned.values()) == set(range(folds))
    groups = [set(patients), *({name for name in patients if patients[name] == stratum} for stratum in range(3))]
    for members in groups:
        found = Counter(assigned[patient] for patient in members)
        sizes = [found[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1


@settings(deadline=None, max_examples=50)  # the first call imports, and the machine may be busy
@given(PATIENTS, st.integers(1, 7), st.integers(0, 2**32), st.data())
def test_the_order_of_the_patients_plays_no_part(
    patients: dict[str, int], folds: int, seed: int, data: st.DataObject
) -> None:
    shuffled = {patient: patients[patient] for patient in data.draw(st.permutations(list(patients)))}
    assert patient_folds(shuffled, folds, seed) == patient_folds(patients, folds, seed)


def test_the_seed_decides_who_goes_where() -> None:
    patients = {f"P{index}": index % 2 for index in range(40)}
    assert len({tuple(patient_folds(patients, 5, seed).values()) for seed in range(5)}) == 5


def test_as_many_folds_as_patients_leave_one_out() -> None:
    patients = {f"P{index}": int(index < 3) for index in range(10)}
    assert sorted(patient_folds(patients, 10, seed=0).values()) == list(range(10))


@pytest.mark.parametrize("count", [0, 4])
def test_fewer_patients_than_folds_are_refused(count: int) -> None:
    with pytest.raises(DatasetError, match=rf"{count} patients are too few for 5 folds"):
        patient_folds({f"P{index}": 0 for index in range(count)}, 5, seed=0)
