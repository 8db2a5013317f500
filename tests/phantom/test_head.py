from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from slicewise.phantom import head
from slicewise.phantom.anatomy import Anatomy, sample_anatomy
from slicewise.phantom.fields import Field
from slicewise.phantom.head import RenderedHead, render_head
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.template import HEAD_BOX

OFF = dict.fromkeys(MimicParameters.__struct_fields__, 0.0)


@lru_cache(maxsize=4)
def _head(kind: str = "", seed: int = 4) -> tuple[Anatomy, RenderedHead]:
    parameters = MimicParameters(**({**OFF, kind: 1.0} if kind else OFF))
    anatomy = sample_anatomy(np.random.default_rng(seed), parameters)
    return anatomy, render_head(anatomy, (), np.random.default_rng(0), tissue=not kind)


def _changed(kind: str) -> tuple[Anatomy, Field, Field]:
    """A head with one mimic: its anatomy, its HU, and by how much they differ from those without."""
    anatomy, with_mimic = _head(kind)
    return anatomy, with_mimic.hu, with_mimic.hu - _head()[1].hu


def test_a_head_has_every_tissue_in_plausible_amounts() -> None:
    _, rendered = _head()
    litres = np.bincount(rendered.tissue.ravel(), minlength=8) * 2e-6
    assert litres[head.BLOOD] == 0
    assert 0.55 < litres[head.GREY] < 1.3
    assert 0.35 < litres[head.WHITE] < 0.9
    assert 0.05 < litres[head.CSF] < 0.5
    assert 0.5 < litres[head.BONE] < 1.6
    assert rendered.hu.shape == HEAD_BOX.shape
    assert rendered.origin_mm == (-100, -130, -120)


def test_a_head_follows_its_seed() -> None:
    anatomy, rendered = _head()
    again = render_head(anatomy, (), np.random.default_rng(0), tissue=False)
    np.testing.assert_array_equal(again.hu, rendered.hu)
    other = render_head(anatomy, (), np.random.default_rng(1), tissue=False)
    assert np.abs(other.hu - rendered.hu)[40:90].mean() > 5


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("pineal_calcification", 60, 520),
        ("granuloma", 45, 620),
        ("basal_ganglia_calcification", 45, 260),
        ("falx_calcification", 60, 720),
        ("meningioma", 41, 640),
        ("old_infarct", 5, 30),
        ("encephalomalacia", 4, 20),
        ("arachnoid_cyst", 0, 14),
        ("colloid_cyst", 40, 80),
        ("clip", 4000, 14001),
        ("coil", 4000, 14001),
        ("craniotomy", -1000, 5000),
        ("scalp_swelling", 15, 80),
    ],
)
def test_a_mimic_is_seen_where_it_was_planned(kind: str, low: float, high: float) -> None:
    anatomy, hu, change = _changed(kind)
    strong = np.abs(change) > 5
    assert strong.sum() >= 3
    planes, rows, columns = np.nonzero(strong)
    for mimic in anatomy.mimics:
        x, y, z = mimic.center
        distance = np.sqrt((columns - 100 - x) ** 2 + (rows - 130 - y) ** 2 + (2 * planes - 120 - z) ** 2)
        reach = max(mimic.size_mm) + 14
        near = distance < reach
        assert near.any()
        values = hu[planes[near], rows[near], columns[near]]
        assert ((values >= low) & (values <= high)).any()


def test_a_missing_piece_of_vault_is_missing() -> None:
    anatomy, hu, change = _changed("craniectomy")
    gone = (change < -400).sum() * 2e-3
    assert gone > 15  # ml of bone
    assert hu.min() > -1001
    assert anatomy.surgery is not None


def test_air_lies_in_front_and_is_air() -> None:
    _, hu, change = _changed("pneumocephalus")
    air = (hu < -700) & (change < -500)
    assert air.sum() > 3
    assert np.nonzero(air)[1].mean() < 110  # rows in front of the ears


def test_a_shunt_reaches_from_the_scalp_to_the_ventricle() -> None:
    anatomy, hu, change = _changed("shunt")
    mimic = anatomy.mimics[0]
    outside, tip = np.array(mimic.center), np.array(mimic.size_mm)
    dense = []
    for share in np.linspace(0.15, 0.95, 9):
        x, y, z = outside + share * (tip - outside)
        spot = hu[round((z + 120) / 2), round(y + 130), round(x + 100)]
        dense.append(spot > 80)
    assert sum(dense) >= 8
    assert (hu > 3000).sum() > (_head()[1].hu > 3000).sum()  # the metal of the valve
    assert np.abs(change).max() > 100
