"""Evaluation results in plain words and as text."""

from __future__ import annotations

from collections.abc import Mapping

from slicewise.evaluation.evidence import Counts, Difference, Estimate, Level, Metrics, Triage
from slicewise.evaluation.operating_points import LEAST_SENSITIVITY, LEAST_SPECIFICITY, MODEL, YOUDEN
from slicewise.task import Label, Task

NOT_DEFINED = "not defined"

LEVELS = {"slice": "slices", "study": "studies"}
"""Levels of the metrics, and what their rows are."""

METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "ECE",
    "brier_reliability": "Reliability",
    "brier_resolution": "Resolution",
    "brier_uncertainty": "Uncertainty",
    "calibration_slope": "Slope",
    "calibration_intercept": "Intercept",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
}
"""Names of metrics for people."""

POINT_NAMES = {
    MODEL: "Threshold of the model",
    YOUDEN: "Youden's index",
    **{name: f"Sensitivity at least {least:.0%}" for name, least in LEAST_SENSITIVITY.items()},
    **{name: f"Specificity at least {least:.0%}" for name, least in LEAST_SPECIFICITY.items()},
}
"""Names of operating points for people."""

DEFINITIONS = {
    "AUROC": "Chance that a positive row has a higher probability than a negative one, ties counted half.",
    "Average precision": "Precision averaged over the steps of recall, without interpolation.",
    "Weighted log loss": "Log loss over slices and labels, weighted as the task says; that of the RSNA 2019 challenge.",
    "Brier score": "Mean squared distance of probability and truth: reliability - resolution + uncertainty.",
    "ECE": "Expected calibration error: mean distance of probability and share of positives over 15 equal bins.",
    "Slope": "Of the line of the logit of the outcome over that of the probability; 1 is best, less is too extreme.",
    "Intercept": "Of that line with a slope of 1; 0 is best, less means probabilities that are too high on the whole.",
    "PPV, NPV": "Share of flagged rows with the finding, and of other rows without it.",
    "Youden's index": "Sensitivity + specificity - 1; its operating point is the threshold where it is largest.",
    "Interval": "95 %, from resampled patients: all rows of a patient are drawn together.",
}
"""Terms of the page and what they mean."""

_LEAST_POSITIVES = 10
_UNITS = ("mm", "ml", "years", "degrees")


def number_text(value: float | None, sign: str = "", digits: int = 3) -> str:
    """Returns a number with three decimals, and no minus before zeros.

    >>> number_text(0.91234), number_text(None), number_text(0.5, "+"), number_text(-0.00012)
    ('0.912', 'not defined', '+0.500', '0.000')
    """
    return NOT_DEFINED if value is None else f"{value:{sign}z.{digits}f}"


def threshold_text(value: float | None) -> str:
    """Returns a threshold; small ones keep two digits.

    >>> threshold_text(0.24), threshold_text(0.00012), threshold_text(None)
    ('0.240', '0.00012', 'not defined')
    """
    return f"{value:.2g}" if value is not None and 0 < value < 0.001 else number_text(value)


def estimate_text(estimate: Estimate | Difference | None, sign: str = "", digits: int = 3) -> str:
    """Returns a number with its interval.

    >>> estimate_text(Estimate(0.9, 0.85, 0.94)), estimate_text(Estimate(0.9, None, None)), estimate_text(None)
    ('0.900 [0.850, 0.940]', '0.900', 'not defined')
    """
    if estimate is None or estimate.value is None:
        return NOT_DEFINED
    value = number_text(estimate.value, sign, digits)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{number_text(estimate.low, sign, digits)}, {number_text(estimate.high, sign, digits)}]"


def p_value_text(value: float | None) -> str:
    """Returns a p value.

    >>> p_value_text(0.0004), p_value_text(0.0312), p_value_text(None)
    ('<0.001', '0.031', 'not defined')
    """
    if value is None:
        return NOT_DEFINED
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def main_label(task: Task) -> Label:
    """Returns the label that sums up the others, else the first one."""
    return task.labels[task.main_index]


def model_name(metrics: Metrics) -> str:
    """Returns the name of the model that was measured."""
    return metrics.model.get("name", "") or "this model"


def point_name(name: str) -> str:
    """Returns the name of an operating point for people."""
    return POINT_NAMES.get(name, name.replace("_", " ").capitalize())


def attribute_text(name: str) -> str:
    """Returns the name of what parts slices into subgroups, for people.

    >>> attribute_text("slice_thickness_mm"), attribute_text("sex")
    ('Slice thickness (mm)', 'Sex')
    """
    words = name.replace("_", " ")
    for unit in _UNITS:
        if words.endswith(f" {unit}"):
            words = f"{words.removesuffix(unit)}({unit})"
    return words[:1].upper() + words[1:]


def inside_sentence(text: str) -> str:
    """Returns a text whose first letter is small, unless it is a name of capitals.

    >>> inside_sentence("Threshold of the model"), inside_sentence("ROC curve")
    ('threshold of the model', 'ROC curve')
    """
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def summary_sentences(metrics: Metrics, task: Task) -> tuple[str, ...]:
    """Says what was measured and found, for the label that sums up the others."""
    label = main_label(task)
    patients, studies = count_text(metrics.n_patients, "patient"), count_text(metrics.n_studies, "study", "studies")
    slices = count_text(metrics.n_slices, "slice")
    sentences = [f"Measured on {patients} with {studies} and {slices}."]
    for level, rows in LEVELS.items():
        found = level_of(metrics, level).get(label.name, {})
        among = _among(metrics.counts.get(level, {}).get(label.name))
        sentences.append(
            f"{label.display}, {rows}: AUROC {estimate_text(found.get('auroc'))}{among}."
            f"{_at_threshold(metrics, level, label)}"
        )
    slope = metrics.slice.get(label.name, {}).get("calibration_slope")
    if slope is not None and slope.value is not None:
        sentences.append(f"Calibration slope on slices: {estimate_text(slope)}; {_calibration_meaning(slope)}.")
    few = [item.display for item in task.labels if _is_rare(metrics.counts.get("study", {}).get(item.name))]
    if few:
        sentences.append(f"Fewer than {_LEAST_POSITIVES} positive studies, where numbers say little: {', '.join(few)}.")
    return tuple(sentences)


def triage_sentences(triage: Triage, displays: Mapping[str, str]) -> tuple[str, ...]:
    """Says what reading flagged studies first would change."""
    label = displays.get(triage.label, triage.label)
    arrivals = "at random (Poisson)" if triage.arrivals == "poisson" else "at their recorded times"
    sooner, later, waits, waited, alarms = (
        estimate_text(found, digits=1)
        for found in (
            triage.minutes_sooner,
            triage.minutes_later,
            triage.wait_of_positive,
            triage.wait_first_come,
            triage.false_alarms_per_100,
        )
    )
    room = (
        f"One reader takes {triage.minutes_per_study:g} minutes a study; {triage.studies_per_hour:g} studies arrive an "
        f"hour, {arrivals}. Those with at least {threshold_text(triage.threshold)} for “{label}” are read first, each "
        "group in the order of arrival."
    )
    gain = (
        f"A study with the finding is read {sooner} minutes sooner: after {waits} minutes instead of {waited}, first "
        f"come, first served. One without it waits {later} minutes longer."
    )
    cost = f"Of 100 studies without the finding, {alarms} are flagged."
    if triage.slices_for_95.value is None:
        return room, gain, cost
    review = (
        "To see 95 % of the positive slices, the most probable first, a share of "
        f"{estimate_text(triage.slices_for_95)} of all slices must be reviewed."
    )
    return room, gain, cost, review


def level_of(metrics: Metrics, level: str) -> Level:
    """Returns the metrics of a level by its name."""
    return metrics.slice if level == "slice" else metrics.study


def count_text(number: int, one: str, many: str = "") -> str:
    """Returns a number of things.

    >>> count_text(1, "slice"), count_text(28000, "slice"), count_text(2, "study", "studies")
    ('1 slice', '28,000 slices', '2 studies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _among(counts: Counts | None) -> str:
    return "" if counts is None else f" ({counts.positive:,} with the finding, {counts.negative:,} without)"


def _at_threshold(metrics: Metrics, level: str, label: Label) -> str:
    point = metrics.operating_points.get(level, {}).get(label.name, {}).get(MODEL)
    if point is None:
        return ""
    return (
        f" At the threshold of the model, {threshold_text(point.threshold)}: sensitivity "
        f"{estimate_text(point.metrics.get('sensitivity'))}, specificity "
        f"{estimate_text(point.metrics.get('specificity'))}."
    )


def _calibration_meaning(slope: Estimate) -> str:
    if slope.low is None or slope.high is None:
        return "there is no interval, so it says little (1: neither too extreme nor too timid)"
    if slope.low > 1:
        return "probabilities are too timid"
    if slope.high < 1:
        return "probabilities are too extreme"
    return "the interval holds 1, where probabilities are neither too extreme nor too timid"


def _is_rare(counts: Counts | None) -> bool:
    return counts is not None and counts.positive < _LEAST_POSITIVES
