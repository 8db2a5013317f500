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
