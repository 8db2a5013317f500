from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.data.split import extend_split, read_splits, split_patients
from slicewise.errors import DatasetError

SHARES = st.sampled_from(
    [{"train": 0.8, "test": 0.2}, {"a": 0.6, "b": 0.25, "c": 0.15}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"all": 1.0}]
)
STRATA = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 2), min_size=1, max_size=60)


def between_floor_and_ceil(count: int, size: int, share: float) -> bool:
    exact = size * Fraction(share).limit_denominator(10**6)
    return math.floor(exact) <= count <= math.ceil(exact)


@settings(deadline=None, max_examples=50)  # the first call imports, and the machine may be busy
@given(STRATA, SHARES, st.integers(0, 2**32))
def test_every_part_gets_its_share_overall_and_of_every_stratum(
    strata: dict[str, int], shares: dict[str, float], seed: int
) -> None:
    parts = split_patients(list(strata), shares, seed, strata)
    assert parts.keys() == strata.keys()
    overall = Counter(parts.values())
    for part, share in shares.items():
        assert between_floor_and_ceil(overall[part], len(strata), share)
        for stratum in set(strata.values()):
            members = [patient for patient in strata if strata[patient] == stratum]
            count = sum(parts[patient] == part for patient in members)
            assert between_floor_and_ceil(count, len(members), share)


@settings(deadline=None, max_examples=50)  # the first call imports, and the machine may be busy
@given(STRATA, SHARES, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_the_patients_play_no_part(
    strata: dict[str, int], shares: dict[str, float], seed: int, random: object
) -> None:
    patients = list(strata)
    shuffled = patients * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random, which hypothesis types as object
    assert split_patients(patients, shares, seed, strata) == split_patients(shuffled, shares, seed, strata)


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (10, {"train": 0.8, "test": 0.2}, {"train": 8, "test": 2}),
        (100, {"a": 0.29, "b": 0.71}, {"a": 29, "b": 71}),  # 0.29 * 100 is 28.999999999999996 in floating point
        (7, {"a": 0.6, "b": 0.25, "c": 0.15}, {"a": 4, "b": 2, "c": 1}),  # 4.2, 1.75, 1.05
        (3, {"a": 0.6, "b": 0.25, "c": 0.15}, {"a": 2, "b": 1, "c": 0}),  # 1.8, 0.75, 0.45
        (5, {"train": 1.0, "test": 0.0}, {"train": 5, "test": 0}),
    ],
)
def test_without_strata_it_is_the_largest_remainder_method(
    count: int, shares: dict[str, float], expected: dict[str, int]
) -> None:
    parts = split_patients([f"P{index}" for index in range(count)], shares, seed=1)
    found = Counter(parts.values())
    assert {part: found[part] for part in shares} == expected


def test_the_seed_decides_who_goes_where() -> None:
    patients = [f"P{index}" for index in range(40)]
    shares = {"train": 0.5, "test": 0.5}
    splits = {tuple(split_patients(patients, shares, seed).values()) for seed in range(5)}
    assert len(splits) == 5


def test_no_patients_give_no_parts() -> None:
    assert split_patients([], {"train": 1.0}, seed=0) == {}


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        split_patients(["P"], shares, seed=0)


@settings(deadline=None, max_examples=50)  # the first call imports, and the machine may be busy
@given(STRATA, STRATA, st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 2**32))
def test_patients_keep_their_part_and_new_ones_bring_the_shares_back(
    first: dict[str, int], later: dict[str, int], holdout: float, seed: int
) -> None:
    shares = {"train": 1.0 - holdout, "test": holdout}
    before = split_patients(list(first), shares, seed, first)
    strata = later | first
    after = extend_split(before, list(strata), shares, seed, strata)
    assert after.keys() == strata.keys()
    assert {patient: after[patient] for patient in first} == before
    # Dealt at once, a part would be off by less than one patient; dealt twice, by less than two.
    assert abs(Counter(after.values())["test"] - holdout * len(strata)) < 2


def test_one_new_patient_after_the_other_is_dealt_by_share() -> None:
    parts: dict[str, str] = {}
    for count in range(1, 41):
        patients = [f"P{index}" for index in range(count)]
        parts = extend_split(parts, patients, {"train": 0.75, "test": 0.25}, 0, dict.fromkeys(patients, 0))
    assert Counter(parts.values()) == {"train": 30, "test": 10}


def test_new_patients_only_fill_the_part_that_lacks_some() -> None:
    patients = [f"P{index}" for index in range(6)]
    known = dict.fromkeys(patients[:4], "train") | {"elsewhere": "test"}
    parts = extend_split(known, patients, {"train": 0.5, "test": 0.5}, 0, dict.fromkeys(patients, 0))
    assert parts == dict.fromkeys(patients[:4], "train") | dict.fromkeys(patients[4:], "test")


def test_splits_that_name_a_patient_twice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "splits.csv"
    file.write_text("patient_id,split\nA,train\nB,test\nA,test\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"splits\.csv: patient A stands twice"):
        read_splits(file)
