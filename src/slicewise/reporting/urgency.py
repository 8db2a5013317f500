"""Which study, and which slice of it, comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slicewise.results import ModelSummary, StudyResult


def score(probabilities: Mapping[str, float], model: ModelSummary) -> float:
    """Returns the probability of the label that sums up the others, else the highest one."""
    return max(probabilities.values()) if model.any_label is None else probabilities[model.any_label]


def score_name(model: ModelSummary) -> str:
    """Returns what `score` is, for people."""
    return "Highest of all labels" if model.any_label is None else display_name(model.any_label, model)


def display_name(label: str, model: ModelSummary) -> str:
    """Returns the name of a label for people."""
    return model.displays[model.labels.index(label)]


def by_urgency(studies: Iterable[StudyResult], model: ModelSummary) -> tuple[StudyResult, ...]:
    """Returns flagged studies by their score, then those unlike the training data, then the others by their score.

    What the model cannot judge has no result: it must not stand behind studies without findings. Its scores mean
    nothing, so it stays in the order given. A study that is flagged by another series of it stands among the flagged.
    """

    def urgency(study: StudyResult) -> tuple[int, float]:
        group = 2 if model.flagged_of(study) else 1 if study.unlike_training else 0
        return group, 0.0 if group == 1 else score(study.probabilities, model)

    return tuple(sorted(studies, key=urgency, reverse=True))
