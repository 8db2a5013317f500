from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from slicewise.reporting.pictures import PictureSet, slice_key
from slicewise.reporting.scroll_pictures import ScrollPicture
from slicewise.reporting.viewer import slice_origin, slices_data, viewer_view, windows_data
from slicewise.results import ModelSummary, SeriesResult, StudyResult
from slicewise.task import Task


@pytest.fixture
def series(make_study: Callable[..., StudyResult], model: ModelSummary) -> SeriesResult:
    (series,) = make_study("x", [f"{index}.dcm" for index in range(5)], {1: {model.labels[0]: 0.6}}).series
    return series


def test_marks_lie_where_the_slider_has_the_flagged_slices(series: SeriesResult, model: ModelSummary) -> None:
    view = viewer_view(series, model)
    assert (view.last, view.start, view.marks) == (4, 1, ("25.00",))
    assert [label.threshold for label in view.labels] == ["0.500", "0.450", "0.400", "0.350", "0.300", "0.250"]
    assert view.labels[0].threshold_percent == "50.0"


def test_a_series_of_one_slice_has_a_place(series: SeriesResult, model: ModelSummary) -> None:
    one = msgspec.structs.replace(series, slices=series.slices[1:2])
    view = viewer_view(one, model)
    assert (view.last, view.start, view.marks) == (0, 0, ("0.00",))


def test_slices_hold_a_picture_or_say_why_not(series: SeriesResult, model: ModelSummary) -> None:
    pictures = {slice_key(item): PictureSet((), scroll=ScrollPicture("abc", 3, 2)) for item in series.slices}
    pictures[slice_key(series.slices[2])] = PictureSet((), "Cannot open a\udcff.dcm.")
    data = slices_data(series, pictures, model, positions_in_mm=False)
    assert [item["jpeg"] for item in data] == ["abc", "abc", "", "abc", "abc"]
    assert data[2]["problem"] == "Cannot open a\\udcff.dcm."
    assert {item["position"] for item in data} == {""}
    assert data[1]["percents"][0] == "60.0"


def test_origin_names_the_frame_where_a_file_may_hold_several(series: SeriesResult) -> None:
    item = series.slices[0]
    assert slice_origin(item) == "0.dcm"
    assert slice_origin(msgspec.structs.replace(item, frame=3)) == "0.dcm, frame 3"
    assert slice_origin(msgspec.structs.replace(item, frame=3, file="")) == "frame 3"


def test_windows_are_those_of_the_task(task: Task) -> None:
    captions = [window["caption"] for window in windows_data(task)]
    assert captions[2] == "Bone window, center 600, width 2800 HU"
    assert len(captions) == len(task.channels)
