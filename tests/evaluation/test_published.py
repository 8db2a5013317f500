from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pytest

from slicewise.data.cq500 import FINDINGS
from slicewise.evaluation.evidence import Estimate, Metrics
from slicewise.evaluation.published import ALL, METRIC_NAMES, SYSTEMS, ProtocolName, beside_published


def metrics(study: Mapping[str, float]) -> Metrics:
    return Metrics(
        n_patients=2,
        n_studies=2,
        n_slices=2,
        weighted_log_loss=Estimate(0.06, 0.05, 0.07),
        slice={},
        study={name: {"auroc": Estimate(value, None, None)} for name, value in study.items()},
        counts={},
        thresholds={},
        resamples=0,
        seed=0,
    )


def test_every_protocol_has_its_systems_and_every_system_a_source_and_a_sentence() -> None:
    assert set(SYSTEMS) == set(get_args(ProtocolName))
    for system in (item for systems in SYSTEMS.values() for item in systems):
        assert system.source
        assert system.not_comparable.endswith(".")
        assert system.metric in METRIC_NAMES
        assert set(system.values) <= {ALL, *FINDINGS.values()}
        assert all(0 < value < 1 for value in system.values.values())


def test_the_figures_of_the_paper() -> None:
    rsna, cq500 = SYSTEMS["rsna"][0], SYSTEMS["cq500"][0]
    assert rsna.system == cq500.system == "Ngo et al. 2022"
    assert rsna.values == {ALL: 0.05341}
    assert cq500.values == {"ICH": 0.9612, "IPH": 0.9691, "IVH": 0.9832, "SAH": 0.9596, "SDH": 0.9694, "EDH": 0.9814}


def test_studies_stand_beside_those_of_others_label_by_label() -> None:
    found = beside_published("cq500", metrics({"a": 0.9, "b": 0.8}), {"a": "ICH", "b": "EDH"}, "phantoms.")
    assert [(row.metric, row.label, row.ours.value) for row in found.figures] == [
        ("study_auroc", "a", 0.9),
        ("study_auroc", "b", 0.8),
    ]
    assert found.figures[1].published == {"Ngo et al. 2022": 0.9814, "Chilamkurthy et al. 2018": 0.97}
    assert found.not_comparable[0] == "Our model was trained on: phantoms."
    assert len(found.not_comparable) > 1


def test_the_challenge_is_one_figure() -> None:
    (row,) = beside_published("rsna", metrics({}), {"a": "ICH"}, "phantoms").figures
    assert (row.label, row.ours, row.published["Ngo et al. 2022"]) == ("", Estimate(0.06, 0.05, 0.07), 0.05341)
    assert len(row.published) == len(SYSTEMS["rsna"])


@pytest.mark.parametrize("protocol", get_args(ProtocolName))
def test_each_tells_what_is_not_comparable(protocol: ProtocolName) -> None:
    found = beside_published(protocol, metrics({"a": 0.9}), {"a": "ICH"}, "phantoms")
    assert all(line.endswith(".") for line in found.not_comparable)
    assert (protocol == "bhx") == (not found.figures)
