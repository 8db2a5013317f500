from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from slicewise.phantom.hemorrhage import DEFAULT_SHARES, SUBTYPES, sample_hemorrhages
from slicewise.phantom.study import PhantomParameters, PhantomStudy, generate_study


@lru_cache
def _study(subtype: str, index: int) -> PhantomStudy:
    parameters = PhantomParameters(
        matrix=64, slices=(14, 14), positive_share=1.0, tilted_share=0.0, subtype_shares={subtype: 1.0}
    )
    return generate_study(3, index, parameters)


def test_first_subtypes_come_as_often_as_their_shares_say() -> None:
    rng = np.random.default_rng(0)
    first = Counter(sample_hemorrhages(rng, DEFAULT_SHARES)[0].subtype for _ in range(600))
    assert sum(DEFAULT_SHARES.values()) == pytest.approx(1.0)
    for subtype in SUBTYPES:
        assert first[subtype] / 600 == pytest.approx(DEFAULT_SHARES[subtype], abs=0.05)


def test_densities_and_sizes_keep_their_ranges() -> None:
    rng = np.random.default_rng(1)
    found = [one for _ in range(300) for one in sample_hemorrhages(rng, DEFAULT_SHARES)]
    assert all(50 <= one.hu <= 80 for one in found)
    volumes = [np.prod(one.size_mm) * 4 / 3 * np.pi / 1000 for one in found if one.subtype == "intraparenchymal"]
    assert 0.1 < min(volumes) < 0.5
    assert 30 < max(volumes) <= 60.001


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_subtype_can_be_drawn_alone(subtype: str) -> None:
    assert any(_study(subtype, index).volumes_ml[subtype] > 0.1 for index in range(4))


def test_epidural_blood_touches_the_skull() -> None:
    for index in range(4):
        study = _study("epidural", index)
        occupancy = study.occupancy.get("epidural")
        if occupancy is None or occupancy.max() < 0.9:
            continue
        number = int(occupancy.sum(axis=(1, 2)).argmax())
        bone = study.volume.values[number] > 300
        blood = occupancy[number] > 0.5
        grown = np.zeros_like(blood)
        grown[1:-1, 1:-1] = blood[2:, 1:-1] | blood[:-2, 1:-1] | blood[1:-1, 2:] | blood[1:-1, :-2]
        assert (grown & bone).any()
        return
    pytest.fail("no study with a whole epidural hemorrhage among four")


def test_intraventricular_blood_stands_where_csf_was_and_nothing_else_changes() -> None:
    # It has no mass effect, so the same study without blood is the same image elsewhere.
    for index in range(6):
        study = _study("intraventricular", index)
        if len(study.hemorrhages) > 1 or study.volumes_ml["intraventricular"] < 1:
            continue
        occupancy = study.occupancy["intraventricular"]
        parameters = PhantomParameters(matrix=64, slices=(14, 14), positive_share=0.0, tilted_share=0.0)
        clean = generate_study(3, index, parameters).volume.values
        blood = study.volume.values
        np.testing.assert_array_equal(blood[occupancy == 0], clean[occupancy == 0])
        full = occupancy > 0.85
        assert full.any()
        assert clean[full].mean() < 25  # CSF, some partial volume and cupping
        assert blood[full].mean() > 45
        return
    pytest.fail("no study with intraventricular blood alone among six")
