from __future__ import annotations

import re

import numpy as np
import pytest

from slicewise.phantom.hemorrhages.model import SUBTYPES
from slicewise.phantom.labels import VISIBLE_OCCUPANCY
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import PhantomStudy, generate_study, patient_index, stable_uid

SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=96", "geometry.slices=[10, 12]", "geometry.thin=0", "geometry.medium=0"),
        *("hemorrhage.positive_share=1", "headers.ge=1", "headers.siemens=0", "headers.philips=0", "headers.canon=0"),
    ],
)


@pytest.fixture(scope="module")
def studies() -> list[PhantomStudy]:
    return [generate_study(11, index, SMALL) for index in range(4)]


def test_a_study_follows_from_seed_and_index_alone(studies: list[PhantomStudy]) -> None:
    again = generate_study(11, 3, SMALL, companions=True)
    np.testing.assert_array_equal(again.volume.values, studies[3].volume.values)
    np.testing.assert_array_equal(again.labels, studies[3].labels)
    assert again.volume.slices == studies[3].volume.slices
    other = generate_study(12, 3, SMALL)
    assert other.volume.values.shape != again.volume.values.shape or (other.volume.values != again.volume.values).any()
    assert other.volume.series_uid != again.volume.series_uid


def test_labels_follow_from_the_occupancy(studies: list[PhantomStudy]) -> None:
    assert any(study.occupancy for study in studies)
    for study in studies:
        pixel = study.geometry.pixel_mm**2
        subtypes = np.zeros((len(study.labels), len(SUBTYPES)), dtype=int)
        for name, occupancy in study.occupancy.items():
            assert occupancy.shape == study.volume.values.shape
            assert 0 <= occupancy.min() <= occupancy.max() <= 1
            area = np.array([plane[plane >= VISIBLE_OCCUPANCY].sum(dtype=np.float64) for plane in occupancy]) * pixel
            subtypes[:, SUBTYPES.index(name)] = [1 if mm2 >= 15 else -1 if mm2 >= 4 else 0 for mm2 in area]
            whole = occupancy.sum(axis=(1, 2), dtype=np.float64) * pixel
            assert study.volumes_ml[name] == pytest.approx(whole @ study.geometry.slice_volumes_ml, rel=1e-6)
        np.testing.assert_array_equal(study.labels[:, 1:], subtypes)


def test_values_are_whole_hounsfield_units_of_a_head(studies: list[PhantomStudy]) -> None:
    for study in studies:
        values = study.volume.values
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.rint(values))
        assert -1024 <= values.min() <= values.max() <= 3071
        assert values.max() > 700  # bone
        assert (values < -900).mean() > 0.2  # air
        assert ((values > 0) & (values < 90)).mean() > 0.1  # brain


def test_blood_is_denser_than_the_same_place_without_it() -> None:
    settings = ("hemorrhage.scenarios.lobar=1", "geometry.thick=0", "geometry.changing=0", "physics.motion=0")
    bleeding = override_parameters(SMALL, settings)
    clean = override_parameters(SMALL, [*settings, "hemorrhage.positive_share=0"])
    checked = 0
    for index in range(3):
        study = generate_study(5, index, bleeding)
        without = generate_study(5, index, clean)
        assert without.occupancy == {}
        assert not without.labels.any()
        assert set(without.volumes_ml.values()) == {0.0}
        blood = study.occupancy.get("intraparenchymal", np.zeros(0)) > 0.95
        if blood.sum() > 20:
            assert study.volume.values[blood].mean() > without.volume.values[blood].mean() + 10
            checked += 1
    assert checked


def test_the_circle_of_reconstruction_holds_the_image() -> None:
    circle = generate_study(11, 0, override_parameters(SMALL, ["physics.circle=1"]))
    assert circle.outside is not None
    assert (circle.volume.values[:, circle.outside] == -1024).all()
    assert 0.18 < circle.outside.mean() < 0.25  # 1 - pi / 4
    whole = generate_study(11, 0, override_parameters(SMALL, ["physics.circle=0"]))
    assert whole.outside is None
    inside = ~circle.outside
    np.testing.assert_array_equal(whole.volume.values[:, inside], circle.volume.values[:, inside])


def test_about_every_tenth_patient_has_two_studies() -> None:
    parameters = PhantomParameters()
    patients = [patient_index(2, index, parameters) for index in range(1500)]
    counts = np.unique(patients, return_counts=True)[1]
    assert set(counts.tolist()) == {1, 2}
    assert 0.07 < (counts == 2).mean() < 0.13
    second = next(index for index in range(1500) if patients[index] != index)
    assert patients[second] == second - 1
    assert stable_uid(2, second) != stable_uid(2, second - 1)


def test_twins_are_one_head_with_and_without_blood() -> None:
    parameters = override_parameters(SMALL, ["hemorrhage.positive_share=0.5", "hemorrhage.twins=0.8"])
    index = next(index for index in range(1, 40, 2) if patient_index(21, index, parameters) != index)
    pair = [generate_study(21, number, parameters) for number in (index - 1, index)]
    assert len({study.volume.patient_id for study in pair}) == 1
    assert len({study.volume.series_uid for study in pair}) == 2
    assert sorted(bool(study.hemorrhages) for study in pair) == [False, True]
    assert sorted((study.labels[:, 0] == 1).any() for study in pair) == [False, True]
    np.testing.assert_array_equal(pair[0].volume.positions_mm, pair[1].volume.positions_mm)
    first, second = (study.volume.values.astype(float) for study in pair)
    bone = first > 500  # mass effect moves the brain, not the skull
    assert np.abs(first - second)[bone].mean() < 0.05 * first[bone].mean()


def test_without_twins_no_study_is_one() -> None:
    parameters = PhantomParameters()
    chained = [index for index in range(200) if patient_index(2, index, parameters) != index]
    pair = [generate_study(2, number, SMALL) for number in (chained[0] - 1, chained[0])]
    assert pair[0].volume.patient_id == pair[1].volume.patient_id
    assert not np.array_equal(pair[0].volume.positions_mm, pair[1].volume.positions_mm)


def test_identifiers_are_valid_uids(studies: list[PhantomStudy]) -> None:
    uids = [uid for study in studies for uid in (study.volume.study_uid, study.volume.series_uid)]
    uids += [item.sop_uid for study in studies for item in study.volume.slices]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"2\.25\.[1-9][0-9]*", uid) and len(uid) <= 64 for uid in uids)
