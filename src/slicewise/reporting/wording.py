"""Results in plain words and as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slicewise.results import ModelSummary, SeriesResult, SliceResult

CLOSE = 1.5
"""Odds within this factor of those of the threshold are close: another scan of the patient may well cross it."""


UNLIKE = "Unlike the training data: do not rely on these probabilities."
"""What stands in the place of a result that the model cannot give."""

NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Summary:
    """What was found in one series, in plain words.

    Attributes:
        lead: The one sentence to read.
        findings: One sentence a flagged label.
        rest: One sentence about the labels that were not flagged, "" if there are none.
        close: One sentence about labels whose highest probability is close to their threshold, "" if there are none.
        single: One sentence about labels that slices are flagged for and the series is not, "" if there are none.
    """

    lead: str
    findings: tuple[str, ...]
    rest: str
    close: str = ""
    single: str = ""


def summarise(series: SeriesResult, model: ModelSummary, *, positions_in_mm: bool) -> Summary:
    """Says which labels reached their threshold, on which slices, and how probable they are at most.

    A series unlike the training data is not judged.
    """
    if series.unlike_training:
        return _not_judged(series, model)
    findings, rest, close, single = [], [], [], []
    of_series = model.flagged_of(series)
    for label, display in zip(model.labels, model.displays, strict=True):
        top = max(series.slices, key=lambda item: item.probabilities[label])
        where = slice_name(top, positions_in_mm=positions_in_mm)
        highest = probability_text(top.probabilities[label])
        bound = model.thresholds_of_studies[label]
        if _is_close(top.probabilities[label], bound):
            close.append(f"{display} ({highest}, threshold {probability_text(bound)})")
        flagged = [item.slice_index for item in series.slices if label in model.flagged(item.probabilities)]
        places = f"{len(flagged)} of {slices_text(len(series.slices))} (index {ranges_text(sorted(flagged))})"
        if label in of_series:
            findings.append(f"{display}: flagged on {places}, highest probability {highest} at {where}.")
        elif flagged:
            single.append(f"{display} on {places}, highest {highest}, threshold of a series {probability_text(bound)}")
        else:
            threshold = probability_text(model.thresholds[label])
            rest.append(f"{display} (highest {highest} at {where}, threshold {threshold})")
    count = len(model.flagged_slices(series))
    total = slices_text(len(series.slices))
    narrow = f"Close to the threshold, so that a repeated scan may well give the other result: {'; '.join(close)}."
    unflagged = "Not flagged on any slice" if findings or single else "Not flagged"
    alone = f"Single slices reach the threshold of a slice, the series does not reach its own: {'; '.join(single)}."
    return Summary(
        _lead(model, count, total, is_flagged=bool(findings)),
        tuple(findings),
        f"{unflagged}: {'; '.join(rest)}." if rest else "",
        narrow if close else "",
        alone if single else "",
    )


def _lead(model: ModelSummary, count: int, total: str, *, is_flagged: bool) -> str:
    if not model.study_thresholds:
        if not is_flagged:
            return f"No label reached its threshold on any of {total}."
        return f"At least one label reached its threshold on {count} of {total}."
    reached = "At least one label" if is_flagged else "No label"
    return f"{reached} reached its threshold for a series; {count or 'none'} of {total} reached one for a slice."


def _not_judged(series: SeriesResult, model: ModelSummary) -> Summary:
    highest = "; ".join(
        f"{display} {probability_text(series.probabilities[label])}"
        for label, display in zip(model.labels, model.displays, strict=True)
    )
    rest = f"Nothing is flagged or cleared. The highest probabilities, which mean nothing here: {highest}."
    return Summary(UNLIKE, (), rest)


def trust(model: ModelSummary) -> tuple[tuple[str, str], ...]:
    """Says how far the results can be trusted, as terms and sentences."""
    sure = (
        "A probability is an estimate of the model, from 0 to 1. On scanners and patients unlike those it was made "
        "with, it can be far too high or too low."
    )
    rule = f"A slice whose probability reaches the threshold of a label. Thresholds: {_sentence(model.threshold_rule)}"
    if model.study_thresholds:
        rule += (
            " A series or study whose highest slice reaches a threshold of its own, never below that for slices: the "
            "highest of many slices is high by chance more often than one. So single slices may be flagged in a study "
            f"that is not. Thresholds of studies: {_sentence(model.study_threshold_rule)}"
        )
    no_use = (
        "Diagnosis, triage or any other clinical use. A scan without flags may have a finding, a flag may be a false "
        f"alarm, and nothing is looked for but: {', '.join(model.displays)}."
    )
    return (
        ("How sure", sure),
        ("What is flagged", rule),
        ("Trained on", _sentence(model.trained_on)),
        ("Made for", _sentence(model.intended_use)),
        *((("Unlike the training data", _sentence(model.unlike_rule)),) if model.unlike_rule else ()),
        ("Not for", no_use),
        *((("Limits", " ".join(map(_sentence, model.limitations))),) if model.limitations else ()),
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _is_close(probability: float, threshold: float) -> bool:
    """Compares odds: 0.02 is far from 0.04, and 0.50 is close to 0.52."""
    if not (0 < probability < 1 and 0 < threshold < 1):
        return probability == threshold
    odds = [value / (1 - value) for value in (probability, threshold)]
    return abs(math.log(odds[0] / odds[1])) < math.log(CLOSE)


def slice_name(item: SliceResult, *, positions_in_mm: bool) -> str:
    """Returns the index of a slice, with its position where that is known in mm."""
    return f"index {item.slice_index}" + (f" ({item.position_mm:.1f} mm)" if positions_in_mm else "")


def slices_text(count: int) -> str:
    """Returns a number of slices.

    >>> slices_text(1), slices_text(28)
    ('1 slice', '28 slices')
    """
    return f"{count} slice{'' if count == 1 else 's'}"


def probability_text(probability: float) -> str:
    """Returns a probability with three decimals; rounding never turns it into 0 or 1.

    >>> probability_text(0.9312), probability_text(0.99996), probability_text(0.0002)
    ('0.931', '>0.999', '<0.001')
    """
    if 0.999 < probability < 1:
        return ">0.999"
    if 0 < probability < 0.001:
        return "<0.001"
    return f"{probability:.3f}"


def ranges_text(indices: Iterable[int]) -> str:
    """Returns ascending indices with runs drawn together.

    >>> ranges_text([3, 10, 11, 12, 14, 15])
    '3, 10 to 12, 14 to 15'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(_run_text(run) for run in runs)


def _run_text(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"


def readable_text(text: str) -> str:
    r"""Returns a text that may hold bytes which are no valid text, as file names do, with those written out.

    >>> readable_text("a\udcff.dcm")
    'a\\udcff.dcm'
    """
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
