"""Results of a model with two labels: one study of one series of three slices, and a file that was not scored."""

from __future__ import annotations

from slicewise.results import ModelSummary, Rejection, Results, SeriesResult, SliceResult, StudyResult
from slicewise.source import Source
from slicewise.volume import ScanWarning

LABELS = ("any", "left")


def make_results() -> Results:
    slices = tuple(
        SliceResult(
            sop_uid=f"1.2.{index}",
            frame=1,
            file=f"IM{index}",
            slice_index=index,
            position_mm=5.0 * index,
            probabilities={"any": 0.1 * index, "left": 1 / 3},
        )
        for index in range(3)
    )
    warnings = (ScanWarning("tilted", "The gantry is tilted."),)
    probabilities = {"any": 0.2, "left": 1 / 3}
    series = SeriesResult("P,1", "1.2", "1.3", slices, probabilities, 12.5, warnings)
    study = StudyResult("P,1", "1.2", (series,), probabilities, warnings, {"1.2.0": Source("private/IM0", "IM0")})
    model = ModelSummary(
        name="m",
        version="1",
        digest="d",
        labels=LABELS,
        displays=("Any", "Left"),
        any_label="any",
        thresholds={"any": 0.2, "left": 0.5},
        threshold_rule="for tests",
        study_rule="max",
        trained_on="nothing",
        intended_use="tests",
    )
    rejected = (Rejection("a\nb", "unreadable", "not_dicom", 'It says "no".'),)
    return Results(model, (study,), rejected, "0.1")
