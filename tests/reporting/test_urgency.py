from __future__ import annotations

from collections.abc import Callable

import msgspec

from slicewise.reporting.urgency import by_urgency, score, score_name
from slicewise.results import ModelSummary, StudyResult

MakeStudy = Callable[..., StudyResult]


def test_flagged_studies_come_first_and_each_kind_by_its_score(make_study: MakeStudy, model: ModelSummary) -> None:
    any_label, other = model.labels[:2]
    raised = {
        "low": {any_label: 0.2},
        "flagged by another label": {any_label: 0.15, other: 0.6},
        "high, not flagged": {any_label: 0.4},
        "flagged": {any_label: 0.9},
    }
    studies = [make_study("x", ["a"], {0: values}, patient_id=name) for name, values in raised.items()]
    ordered = [study.patient_id for study in by_urgency(studies, model)]
    assert ordered == ["flagged", "flagged by another label", "high, not flagged", "low"]


def test_single_flagged_slices_make_no_study_urgent(make_study: MakeStudy, study_model: ModelSummary) -> None:
    any_label, other = study_model.labels[:2]
    raised = {"slices alone": {any_label: 0.6, other: 0.7}, "study": {any_label: 0.55, other: 0.8}}
    studies = [make_study("x", ["a"], {0: values}, patient_id=name) for name, values in raised.items()]
    assert [study.patient_id for study in by_urgency(studies, study_model)] == ["study", "slices alone"]


def test_equally_urgent_studies_keep_their_order(make_study: MakeStudy, model: ModelSummary) -> None:
    studies = [make_study("x", ["a"], patient_id=name) for name in "abc"]
    assert [study.patient_id for study in by_urgency(studies, model)] == ["a", "b", "c"]


def test_the_score_is_that_of_the_label_that_sums_up_or_else_the_highest(model: ModelSummary) -> None:
    probabilities = dict.fromkeys(model.labels, 0.1) | {model.labels[0]: 0.3, model.labels[2]: 0.7}
    assert (score(probabilities, model), score_name(model)) == (0.3, model.displays[0])
    alone = msgspec.structs.replace(model, any_label=None)
    assert (score(probabilities, alone), score_name(alone)) == (0.7, "Highest of all labels")


def test_studies_unlike_the_training_data_stand_between_flagged_ones_and_the_others(
    make_study: MakeStudy, model: ModelSummary
) -> None:
    any_label = model.labels[0]
    studies = [
        make_study("x", ["a"], {0: {any_label: 0.4}}, patient_id="not flagged"),
        make_study("x", ["a"], {0: {any_label: 0.01}}, patient_id="unlike, low", unlike=True),
        make_study("x", ["a"], {0: {any_label: 0.99}}, patient_id="unlike, high", unlike=True),
        make_study("x", ["a"], {0: {any_label: 0.6}}, patient_id="flagged"),
    ]
    ordered = [study.patient_id for study in by_urgency(studies, model)]
    assert ordered == ["flagged", "unlike, low", "unlike, high", "not flagged"]


def test_a_study_flagged_by_one_series_stays_among_the_flagged_where_another_is_unlike(
    make_study: MakeStudy, model: ModelSummary
) -> None:
    any_label = model.labels[0]
    flagged = make_study("x", ["a"], {0: {any_label: 0.9}}, patient_id="flagged and unlike")
    odd = make_study("x", ["a"], {0: {any_label: 0.99}}, patient_id="unlike", unlike=True)
    mixed = msgspec.structs.replace(flagged, series=flagged.series + odd.series)
    other = make_study("x", ["a"], {0: {any_label: 0.6}}, patient_id="flagged")
    ordered = [study.patient_id for study in by_urgency([odd, other, mixed], model)]
    assert ordered == ["flagged and unlike", "flagged", "unlike"]
