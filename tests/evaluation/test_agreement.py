from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from slicewise.data.cq500 import FINDINGS, READERS, read_reads
from slicewise.evaluation.agreement import (
    category_counts,
    cohen_kappa,
    fleiss_kappa,
    reader_agreement,
    share_of_agreement,
)
from slicewise.task import load_task

# Fleiss 1971, table 1: 30 patients, each put by 6 psychiatrists into one of 5 diagnoses.
FLEISS_1971 = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def table_of_fleiss() -> npt.NDArray[np.int64]:
    return np.array([[int(cell) for cell in row] for row in FLEISS_1971.split()])


def test_the_published_example_of_fleiss() -> None:
    counts = table_of_fleiss()
    assert counts.sum(axis=0).tolist() == [26, 26, 30, 55, 43]  # the column sums that the paper prints
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)


def test_an_example_worked_out_by_hand() -> None:
    # Agreement within subjects: 1, 1, 1/3, 1/3, mean 2/3. Shares 7/12 and 5/12, by chance 74/144.
    counts = category_counts(np.array([[1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=np.int8))
    assert counts.tolist() == [[0, 3], [3, 0], [1, 2], [2, 1]]
    assert fleiss_kappa(counts) == pytest.approx((2 / 3 - 0.5) / 0.5)
    assert fleiss_kappa([[0, 3], [3, 0], [0, 3], [2, 1]]) == pytest.approx((5 / 6 - 74 / 144) / (70 / 144))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([[3, 0], [0, 3]], 1.0), ([[1, 1], [1, 1]], -1.0), ([[2, 0], [2, 0]], math.nan), (np.zeros((0, 2)), math.nan)],
)
def test_the_ends_of_fleiss_kappa(counts: npt.ArrayLike, expected: float) -> None:
    assert fleiss_kappa(counts) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("counts", [[[3, 0], [1, 1]], [[1, 0], [0, 1]]])
def test_subjects_with_other_numbers_of_readers_are_refused(counts: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match="as many readers"):
        fleiss_kappa(counts)


def test_cohens_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    first = generator.integers(0, 3, 80)
    second = np.where(generator.random(80) < 0.6, first, generator.integers(0, 3, 80))
    assert cohen_kappa(first, second) == pytest.approx(sklearn.metrics.cohen_kappa_score(first, second))
    # 20 + 15 of 50 agree; by chance 0.5 x 0.6 + 0.5 x 0.4.
    one, other = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(one, other) == pytest.approx(0.4)
    assert share_of_agreement(one, other) == pytest.approx(0.7)
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(cohen_kappa([], []))
    assert math.isnan(share_of_agreement([], []))


def test_every_label_and_pair_is_measured_and_unknown_readings_are_left_out() -> None:
    values = np.array([[[1, 0], [1, 0], [1, 1]], [[0, 0], [0, -1], [0, 0]], [[1, 1], [1, 1], [0, 1]]], dtype=np.int8)
    found = reader_agreement(values, ("A", "B", "C"), ("x", "y"), resamples=20)
    assert (found["x"].subjects, found["x"].positive) == (3, (2, 2, 1))
    assert found["x"].unanimous == pytest.approx(2 / 3)
    assert (found["y"].subjects, found["y"].unanimous) == (2, 0.5)
    assert [pair.readers for pair in found["x"].pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [pair.subjects for pair in found["y"].pairs] == [2, 3, 2]
    assert found["x"].pairs[0].cohen_kappa == 1.0
    assert found["x"].pairs[1].agreement == pytest.approx(2 / 3)
    assert found["x"].fleiss_kappa.value == pytest.approx(fleiss_kappa([[0, 3], [3, 0], [1, 2]]))


def test_nothing_is_defined_without_subjects() -> None:
    found = reader_agreement(np.empty((0, 3, 1), np.int8), READERS, ("x",))["x"]
    assert (found.subjects, found.unanimous, found.fleiss_kappa.value) == (0, None, None)
    assert found.pairs[0].cohen_kappa is None


def test_names_must_fit_the_readings() -> None:
    with pytest.raises(ValueError, match="do not fit 2 readers"):
        reader_agreement(np.zeros((4, 3, 1), np.int8), ("A", "B"), ("x",))


def test_the_interval_covers_the_truth_and_follows_the_seed() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random((400, 1, 1)) < 0.3
    values = np.where(generator.random((400, 3, 1)) < 0.9, truth, ~truth).astype(np.int8)
    one, again, other = (
        reader_agreement(values, READERS, ("x",), resamples=500, seed=seed)["x"].fleiss_kappa for seed in (1, 1, 2)
    )
    assert one == again != other
    assert one.value is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.value < one.high
    # The jackknife is another way to the same width.
    counts = category_counts(values[:, :, 0])
    left_out = np.array([fleiss_kappa(np.delete(counts, index, axis=0)) for index in range(len(counts))])
    error = math.sqrt((len(counts) - 1) / len(counts) * ((left_out - left_out.mean()) ** 2).sum())
    assert one.high - one.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_readers_of_cq500_agree_more_on_what_is_seen_more_easily(shared_data: Path) -> None:
    task = load_task("ich")
    reads = read_reads(shared_data / "cq500" / "reads.csv", task)
    found = reader_agreement(reads.values, READERS, reads.labels, resamples=100)
    kappas = {FINDINGS[name]: item.fleiss_kappa.value for name, item in found.items()}
    assert {item.subjects for item in found.values()} == {491}
    expected = {"ICH": 0.7827, "IPH": 0.7746, "IVH": 0.6962, "SAH": 0.6382, "EDH": 0.6145, "SDH": 0.5418}
    assert kappas == pytest.approx(expected, abs=5e-5)
