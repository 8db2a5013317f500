"""The worklist: the studies of a report, the most urgent first."""

from __future__ import annotations

from slicewise.reporting.scan_advice import study_advice
from slicewise.reporting.urgency import display_name, score
from slicewise.reporting.view import WorklistRow
from slicewise.reporting.wording import NOT_JUDGED, probability_text
from slicewise.results import ModelSummary, StudyResult


def worklist_row(study: StudyResult, number: int, href: str, model: ModelSummary) -> WorklistRow:
    """Returns the row of a study.

    Args:
        study: The study.
        number: Its place in the worklist, from 1.
        href: Where it is shown.
        model: Labels and thresholds.
    """
    labels = model.flagged_of(study)
    flagged = sum(len(model.flagged_slices(series)) for series in study.series)
    count = sum(len(series.slices) for series in study.series)
    judged = bool(labels) or not study.unlike_training
    return WorklistRow(
        href=href,
        heading=f"Study {number}",
        patient_id=study.patient_id or "not given",
        study_uid=study.study_uid or "not given",
        score=probability_text(score(study.probabilities, model)) if judged else NOT_JUDGED,
        flagged=tuple(display_name(name, model) for name in labels),
        unlike=study.unlike_training,
        slices=f"{flagged} of {count}" if judged else NOT_JUDGED,
        warnings=tuple(dict.fromkeys(item.title for item in study_advice(study, [""] * len(study.series)))),
    )
