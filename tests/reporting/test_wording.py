from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.reporting.wording import probability_text, ranges_text, summarise, trust
from slicewise.results import ModelSummary, StudyResult

FILES = [f"{index}.dcm" for index in range(8)]


def test_summary_says_what_was_flagged_where_and_how_probable(
    make_study: Callable[..., StudyResult], model: ModelSummary
) -> None:
    first, second = model.labels[:2]
    raised = {1: {first: 0.5}, 4: {first: 0.6, second: 0.449}, 5: {first: 0.93}, 6: {first: 0.7}}
    (series,) = make_study("x", FILES, raised).series
    summary = summarise(series, model, positions_in_mm=True)
    assert summary.lead == "At least one label reached its threshold on 4 of 8 slices."
    (finding,) = summary.findings
    flagged = f"{model.displays[0]}: flagged on 4 of 8 slices (index 1, 4 to 6)"
    assert finding == f"{flagged}, highest probability 0.930 at index 5 (15.0 mm)."
    assert summary.rest.startswith(
        f"Not flagged on any slice: {model.displays[1]} (highest 0.449 at index 4 (10.0 mm), threshold 0.450); "
    )


def test_summary_says_that_nothing_was_flagged(make_study: Callable[..., StudyResult], model: ModelSummary) -> None:
    (series,) = make_study("x", FILES).series
    summary = summarise(series, model, positions_in_mm=False)
    assert summary.lead == "No label reached its threshold on any of 8 slices."
    assert summary.findings == ()
    assert all(display in summary.rest for display in model.displays)
    assert " mm" not in summary.rest


def test_summary_leaves_out_the_rest_where_everything_is_flagged(
    make_study: Callable[..., StudyResult], model: ModelSummary
) -> None:
    (series,) = make_study("x", FILES[:1]).series
    low = msgspec.structs.replace(model, thresholds=dict.fromkeys(model.labels, 0.05))
    summary = summarise(series, low, positions_in_mm=True)
    assert summary.lead == "At least one label reached its threshold on 1 of 1 slice."
    assert len(summary.findings) == len(model.labels)
    assert summary.rest == ""


def test_single_slices_are_told_from_what_the_series_is_flagged_for(
    make_study: Callable[..., StudyResult], study_model: ModelSummary
) -> None:
    # Thresholds of slices 0.50, 0.45, ...; of series 0.80, 0.75, ...
    first, second = study_model.labels[:2]
    (series,) = make_study("x", FILES, {1: {first: 0.6}, 4: {first: 0.9}, 5: {second: 0.5}}).series
    summary = summarise(series, study_model, positions_in_mm=False)
    assert (
        summary.lead == "At least one label reached its threshold for a series; 3 of 8 slices reached one for a slice."
    )
    assert summary.findings == (
        f"{study_model.displays[0]}: flagged on 2 of 8 slices (index 1, 4), highest probability 0.900 at index 4.",
    )
    assert summary.single == (
        "Single slices reach the threshold of a slice, the series does not reach its own: "
        f"{study_model.displays[1]} on 1 of 8 slices (index 5), highest 0.500, threshold of a series 0.750."
    )
    (series,) = make_study("x", FILES, {5: {second: 0.72}}).series
    alone = summarise(series, study_model, positions_in_mm=False)
    assert alone.lead == "No label reached its threshold for a series; 1 of 8 slices reached one for a slice."
    assert alone.findings == ()
    assert alone.rest.startswith("Not flagged on any slice: ")
    assert f"{study_model.displays[1]} (0.720, threshold 0.750)." in alone.close
    (series,) = make_study("x", FILES).series
    nothing = summarise(series, study_model, positions_in_mm=False)
    assert nothing.lead == "No label reached its threshold for a series; none of 8 slices reached one for a slice."
    assert nothing.single == ""
    assert nothing.rest.startswith("Not flagged: ")


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.000"), (0.0004, "<0.001"), (0.001, "0.001"), (0.5, "0.500"), (0.9991, ">0.999"), (1.0, "1.000")],
)
def test_probability_text(probability: float, text: str) -> None:
    assert probability_text(probability) == text


@given(st.sets(st.integers(0, 200), min_size=1).map(sorted))
def test_ranges_name_exactly_the_indices(indices: list[int]) -> None:
    named: list[int] = []
    for part in ranges_text(indices).split(", "):
        first, _, last = part.partition(" to ")
        named.extend(range(int(first), int(last or first) + 1))
    assert named == indices


@pytest.mark.parametrize(
    ("probability", "is_close"), [(0.5, True), (0.59, True), (0.41, True), (0.61, False), (0.39, False), (1.0, False)]
)
def test_summary_tells_what_is_close_to_its_threshold(
    make_study: Callable[..., StudyResult], model: ModelSummary, probability: float, *, is_close: bool
) -> None:
    label = model.labels[0]
    (series,) = make_study("x", FILES, {1: {label: probability}}).series
    only = msgspec.structs.replace(model, thresholds={**dict.fromkeys(model.labels, 0.9), label: 0.5})
    close = summarise(series, only, positions_in_mm=True).close
    assert bool(close) == is_close
    assert not is_close or f"{model.displays[0]} ({probability:.3f}, threshold 0.500)." in close


def test_trust_says_what_the_model_was_made_with_and_for(model: ModelSummary) -> None:
    said = dict(trust(model))
    assert said["Trained on"] == "nothing at all."
    assert said["Made for"] == "tests."
    assert "fixed by hand for this test." in said["What is flagged"]
    assert all(display in said["Not for"] for display in model.displays)
    assert "Thresholds of studies" not in said["What is flagged"]


def test_trust_tells_slices_from_studies(study_model: ModelSummary) -> None:
    said = dict(trust(study_model))["What is flagged"]
    assert "fixed by hand for this test. A series or study" in said
    assert said.endswith("Thresholds of studies: raised for this test.")


def test_a_series_unlike_the_training_data_is_neither_flagged_nor_cleared(
    make_study: Callable[..., StudyResult], model: ModelSummary
) -> None:
    (series,) = make_study("x", FILES, {1: {model.labels[0]: 0.99}}, unlike=True).series
    summary = summarise(series, model, positions_in_mm=True)
    assert summary.lead == "Unlike the training data: do not rely on these probabilities."
    assert (summary.findings, summary.close) == ((), "")
    assert summary.rest.startswith("Nothing is flagged or cleared.")
    assert f"{model.displays[0]} 0.990" in summary.rest


def test_what_the_model_is_not_for_and_what_it_calls_unlike_are_told(model: ModelSummary) -> None:
    told = dict(trust(msgspec.structs.replace(model, limitations=("Not for cats.", "No"), unlike_rule="A rule")))
    assert told["Limits"] == "Not for cats. No."
    assert told["Unlike the training data"] == "A rule."
    assert {"Limits", "Unlike the training data"}.isdisjoint(dict(trust(model)))
