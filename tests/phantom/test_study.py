from __future__ import annotations

import re

import numpy as np
import pytest

from slicewise.errors import UsageError
from slicewise.phantom.hemorrhage import SUBTYPES
from slicewise.phantom.study import (
    LABELS,
    PhantomParameters,
    PhantomStudy,
    generate_study,
    labels_from_areas,
    patient_id,
    patient_index,
    stable_uid,
)

SMALL = PhantomParameters(matrix=64, slices=(8, 10), positive_share=1.0)


@pytest.fixture(scope="module")
def studies() -> list[PhantomStudy]:
    return [generate_study(11, index, SMALL) for index in range(6)]


def test_a_study_follows_from_seed_and_index_alone(studies: list[PhantomStudy]) -> None:
    again = generate_study(11, 3, SMALL)
    np.testing.assert_array_equal(again.volume.values, studies[3].volume.values)
    np.testing.assert_array_equal(again.labels, studies[3].labels)
    assert again.volume.slices == studies[3].volume.slices
    other = generate_study(12, 3, SMALL)
    assert other.volume.values.shape != again.volume.values.shape or (other.volume.values != again.volume.values).any()
    assert other.volume.series_uid != again.volume.series_uid


def test_labels_follow_from_the_occupancy(studies: list[PhantomStudy]) -> None:
    assert any(study.occupancy for study in studies)
    for study in studies:
        rows, columns = study.volume.pixel_spacing_mm
        subtypes = np.zeros((len(study.labels), len(SUBTYPES)), dtype=int)
        for name, occupancy in study.occupancy.items():
            assert occupancy.shape == study.volume.values.shape
            assert occupancy.min() >= 0
            assert occupancy.max() <= 1 + 1e-5
            area = occupancy.astype(np.float64).reshape(len(occupancy), -1).sum(axis=1) * rows * columns
            subtypes[:, SUBTYPES.index(name)] = [1 if mm2 >= 15 else -1 if mm2 >= 4 else 0 for mm2 in area]
            thickness = np.diff(study.volume.positions_mm).mean()
            assert study.volumes_ml[name] == pytest.approx(area.sum() * thickness / 1000, rel=1e-6)
        np.testing.assert_array_equal(study.labels[:, 1:], subtypes)
        for row, any_label in zip(subtypes, study.labels[:, 0], strict=True):
            assert any_label == (1 if 1 in row else -1 if -1 in row else 0)


def test_label_rule_at_its_limits() -> None:
    areas = np.zeros((5, len(SUBTYPES)))
    areas[:, 2] = [0.0, 3.99, 4.0, 14.99, 15.0]
    areas[3, 4] = 20.0
    labels = labels_from_areas(areas)
    assert labels.dtype == np.int8
    assert labels[:, 3].tolist() == [0, 0, -1, -1, 1]
    assert labels[:, 0].tolist() == [0, 0, -1, 1, 1]
    assert LABELS[0] == "any"


def test_blood_is_dense_and_inside_the_head() -> None:
    shares = {"intraparenchymal": 1.0}
    parameters = PhantomParameters(matrix=96, slices=(10, 10), positive_share=1.0, subtype_shares=shares)
    checked = 0
    for index in range(4):
        study = generate_study(5, index, parameters)
        blood = study.occupancy.get("intraparenchymal", np.zeros(0)) > 0.98
        if blood.sum() > 20:
            assert 45 < study.volume.values[blood].mean() < 105  # up to 20 HU of cupping
            checked += 1
    assert checked


def test_without_positive_studies_there_is_no_blood() -> None:
    parameters = PhantomParameters(matrix=64, slices=(6, 6), positive_share=0.0)
    for index in range(3):
        study = generate_study(1, index, parameters)
        assert study.occupancy == {}
        assert not study.labels.any()
        assert set(study.volumes_ml.values()) == {0.0}


def test_values_are_whole_hounsfield_units_of_a_head(studies: list[PhantomStudy]) -> None:
    for study in studies:
        values = study.volume.values
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.rint(values))
        assert values.min() >= -1024
        assert values.max() > 700  # bone
        assert (values < -900).mean() > 0.2  # air
        assert ((values > 0) & (values < 90)).mean() > 0.1  # brain


def test_geometry_of_the_volume(studies: list[PhantomStudy]) -> None:
    tilts = [study.volume.tilt_degrees for study in studies]
    assert any(tilt > 4 for tilt in tilts)
    assert all(0 <= tilt <= 24 for tilt in tilts)
    for study in studies:
        steps = np.diff(study.volume.positions_mm)
        assert 4.499 <= steps.min() <= steps.max() <= 5.601
        np.testing.assert_allclose(steps, study.geometry.spacing_mm, rtol=1e-9)
        assert 8 <= len(study.volume.slices) <= 10


def test_about_every_tenth_patient_has_two_studies() -> None:
    patients = [patient_id(2, index) for index in range(1500)]
    counts = np.unique(patients, return_counts=True)[1]
    assert set(counts.tolist()) == {1, 2}
    assert 0.07 < (counts == 2).mean() < 0.13
    second = next(index for index in range(1500) if patient_index(2, index) != index)
    assert patient_index(2, second) == second - 1
    assert stable_uid(2, second) != stable_uid(2, second - 1)


def test_identifiers_are_valid_uids(studies: list[PhantomStudy]) -> None:
    uids = [uid for study in studies for uid in (study.volume.study_uid, study.volume.series_uid)]
    uids += [item.sop_uid for study in studies for item in study.volume.slices]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"2\.25\.[1-9][0-9]*", uid) and len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"matrix": 8}, "matrix"),
        ({"slices": (5, 4)}, "slices"),
        ({"slices": (0, 4)}, "slices"),
        ({"positive_share": 1.2}, "positive_share"),
        ({"tilted_share": -0.1}, "tilted_share"),
        ({"subtype_shares": {"epidrual": 1.0}}, "subtype_shares"),
        ({"subtype_shares": {"epidural": 0.0}}, "subtype_shares"),
    ],
)
def test_parameters_that_do_not_fit_are_named(values: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=name):
        PhantomParameters(**values)  # type: ignore[arg-type]  # wrong values are what is tested
