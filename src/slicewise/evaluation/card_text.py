"""A model's card as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slicewise.evaluation.evidence import Estimate
from slicewise.evaluation.model_card import Card, EvaluatedOn, LevelFigures, LocalisedLabel, Making, Robustness
from slicewise.package import Calibration
from slicewise.task import Task
from slicewise.text import aligned

_NOT_DEFINED = "n/a"


def card_text(card: Card, task: Task, calibration: Calibration) -> str:
    """Returns the tables of a card.

    Args:
        card: The card.
        task: Names and order of the labels.
        calibration: Of the model, which the card does not repeat.
    """
    return "\n".join(_lines(card, task, calibration))


def _lines(card: Card, task: Task, calibration: Calibration) -> Iterator[str]:
    for item in card.evaluations:
        yield from _evaluation(item, task)
    yield from _table(
        "Calibration: probability = sigmoid(scale * logit + bias)",
        ("", "scale", "bias"),
        [
            (label.display, f"{scale:.3f}", f"{bias:+.3f}")
            for label, scale, bias in zip(task.labels, calibration.scale, calibration.bias, strict=True)
        ],
    )
    if card.robustness is not None:
        yield from _robustness(card.robustness, task)
    if card.localisation:
        yield from _localisation(card.localisation, task)
    if card.making is not None:
        yield from _making(card.making)
    yield "In brackets: 95 % interval, patients resampled."
    yield f"Measured as the package with digest {card.evaluated_digest}."


def _evaluation(item: EvaluatedOn, task: Task) -> Iterator[str]:
    yield f"Tested on {item.data}: {item.patients} patients, {item.studies} studies, {item.slices} slices"
    if item.dataset_digest:
        yield f"  dataset digest     {item.dataset_digest}"
    yield f"  weighted log loss  {_text(item.weighted_log_loss)}"
    yield ""
    for level, found in (("slices", item.slice), ("studies", item.study)):
        yield from _table(
            "",
            (level, "positive", "negative", "AUROC", "AP", "log loss"),
            [
                (
                    label.display,
                    str(found[label.name].positive),
                    str(found[label.name].negative),
                    _text(found[label.name].auroc),
                    _text(found[label.name].average_precision),
                    _text(found[label.name].log_loss),
                )
                for label in task.labels
            ],
        )
    for level, found in (("slices", item.slice), ("studies", item.study)):
        header = (f"{level}, operating point", "threshold", "sensitivity", "specificity", "slope", "intercept", "ECE")
        yield from _table(
            "", header, [(label.display, *_point_and_calibration(found[label.name])) for label in task.labels]
        )


def _point_and_calibration(figures: LevelFigures) -> tuple[str, ...]:
    return (
        _NOT_DEFINED if figures.threshold is None else f"{figures.threshold:.3f}",
        _text(figures.sensitivity),
        _text(figures.specificity),
        # The interval of the slope tells more than these columns have room for: metrics.json has it.
        _number(figures.calibration_slope),
        _number(figures.calibration_intercept, "+"),
        _number(figures.ece),
    )


def _robustness(found: Robustness, task: Task) -> Iterator[str]:
    main = task.labels[task.main_index].display
    groups = dict.fromkeys(effect.group for effect in found.effects)
    yield from _table(
        f"Robustness: slices, {main}; {found.data}",
        ("what is added", "AUROC", "difference", "sensitivity", "specificity"),
        [
            (
                effect.name,
                _text(effect.auroc),
                "" if effect.difference is None else _text(effect.difference, "+"),
                _text(effect.sensitivity),
                _text(effect.specificity),
            )
            for group in groups
            for effect in found.effects
            if effect.group == group
        ],
    )


def _localisation(found: Sequence[LocalisedLabel], task: Task) -> Iterator[str]:
    display = {label.name: label.display for label in task.labels}
    yield from _table(
        "Where the maps point: share of flagged positive slices whose map peaks",
        ("", "slices", "inside the finding", "within 10 mm"),
        [
            (display.get(item.label, item.label), str(item.flagged), _text(item.inside), _text(item.within_10_mm))
            for item in found
        ],
    )


def _making(making: Making) -> Iterator[str]:
    total = sum(stage.seconds for stage in making.stages)
    yield f"Made by `{making.command}` in {_duration(total)} on {making.machine}:"
    yield from (f"  {_duration(stage.seconds):>10}  {stage.name}: {stage.command}" for stage in making.stages)
    yield ""


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if title:
        yield title
    yield from (f"  {line}" for line in aligned([header, *rows], left=1).splitlines())
    yield ""


def _text(estimate: Estimate, sign: str = "") -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return _number(estimate, sign)
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _number(estimate: Estimate, sign: str = "") -> str:
    return _NOT_DEFINED if estimate.value is None else f"{estimate.value:{sign}.3f}"


def _duration(seconds: float) -> str:
    """Returns a duration in words.

    >>> _duration(42.4), _duration(754), _duration(7560)
    ('42 s', '12 min 34 s', '2 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
