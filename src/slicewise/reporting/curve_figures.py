"""Figures of curves: ROC, precision over recall, and predictive values over prevalence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slicewise.evaluation.curves import CurvePoints
from slicewise.evaluation.evidence import Estimate, OperatingPoint, PredictiveValues
from slicewise.reporting.drawing import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    TONES,
    Illustration,
    illustrate,
    line_style,
    new_figure,
    plain_text,
    tone,
    unit_square,
)
from slicewise.reporting.evaluation_wording import estimate_text, threshold_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _PLOT, _LEFT, _TOP = 5.0, 4.2, 0.62, 0.35
_BELOW_PLOT, _ROW = 0.72, 0.19
"""Inches: of the axis below the plot, and of a row of the key."""

_WIDE_WIDTH, _WIDE_HEIGHT = 10.2, 4.0


@dataclass(frozen=True)
class NamedCurve:
    """A curve of a label, or of a model.

    Attributes:
        display: Name for people.
        points: The curve.
        area: What the area under it is, with its interval.
        marked: Where the operating point lies, as (x, y); None where there is none.
        baseline: Height of a curve that knows nothing; None where it is the diagonal.
    """

    display: str
    points: CurvePoints
    area: Estimate | None
    marked: tuple[float, float] | None = None
    baseline: float | None = None


def roc_figure(name: str, title: str, curves: Sequence[NamedCurve], marked: str) -> Illustration:
    """Draws ROC curves, inside `drawing`.

    Args:
        name: As for `illustrate`.
        title: As there.
        curves: At least one, each with points.
        marked: What the marks are; "" where there are none.
    """
    figure, axes = _square_axes(len(curves))
    unit_square(axes, "1 - specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 3)))
    _draw(axes, title, curves, "AUROC")
    caption = f"{title}: sensitivity over 1 - specificity.{_marks(marked)} The dotted diagonal is chance."
    return illustrate(figure, name=name, title=title, description=_describe(curves, "AUROC"), caption=caption)


def precision_recall_figure(name: str, title: str, curves: Sequence[NamedCurve], marked: str) -> Illustration:
    """Draws precision over recall; arguments as for `roc_figure`."""
    figure, axes = _square_axes(len(curves))
    unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
    for number, curve in enumerate(curves):
        if curve.baseline is not None:
            axes.plot(
                [1.0], [curve.baseline], marker="<", markersize=5, color=tone(number), clip_on=False, linestyle="none"
            )
    _draw(axes, title, curves, "AP")
    caption = (
        f"{title}: precision over recall.{_marks(marked)} Small triangles at the right edge: share of positives, the "
        "precision of guessing."
    )
    return illustrate(
        figure, name=name, title=title, description=_describe(curves, "average precision"), caption=caption
    )


def predictive_values_figure(
    name: str, title: str, points: Sequence[tuple[str, OperatingPoint]], chosen: str
) -> Illustration:
    """Draws predictive values over the prevalence.

    Args:
        name: As for `illustrate`.
        title: As there.
        points: Operating points by what their rows are, at least one.
        chosen: Name of the operating point in a sentence.
    """
    width = _WIDE_WIDTH * len(points) / 2
    figure = new_figure(width, _WIDE_HEIGHT, left=_LEFT, right=0.1, bottom=0.55, top=_TOP)
    for axes, (rows, point) in zip(figure.subplots(1, len(points), squeeze=False)[0], points, strict=True):
        prevalence = [100.0 * item.prevalence for item in point.by_prevalence]
        for number, (values, display, marker) in enumerate(_predictive_series(point.by_prevalence), start=1):
            defined = [(at, found) for at, found in zip(prevalence, values, strict=True) if found.value is not None]
            at = [place for place, _ in defined]
            axes.fill_between(
                at,
                [_or(found.low, found.value) for _, found in defined],
                [_or(found.high, found.value) for _, found in defined],
                color=TONES[number],
                alpha=0.14,
                linewidth=0,
            )
            axes.plot(
                at,
                [found.value for _, found in defined],
                color=TONES[number],
                linestyle=line_style(number - 1),
                marker=marker,
                markersize=4.5,
                label=display,
            )
        axes.set(xlabel="Prevalence (%)", ylabel="Predictive value", ylim=(-0.02, 1.02), xlim=(0, None))
        axes.set_title(f"{rows.capitalize()}, threshold {threshold_text(point.threshold)}")
        axes.legend(loc="lower right")
    described = " ".join(_describe_values(rows, point) for rows, point in points)
    caption = (
        f"{title} at this operating point: {chosen}. By Bayes' theorem from sensitivity and specificity; bands are "
        "95 % intervals."
    )
    return illustrate(figure, name=name, title=title, description=described, caption=caption)


def _square_axes(curves: int) -> tuple[Figure, Axes]:
    """Returns a figure and its axes, with room for a key of all curves below them."""
    below = _BELOW_PLOT + _ROW * curves
    right = _WIDTH - _LEFT - _PLOT
    figure = new_figure(_WIDTH, _TOP + _PLOT + below, left=_LEFT, right=right, bottom=below, top=_TOP)
    return figure, figure.subplots()


def _draw(axes: Axes, title: str, curves: Sequence[NamedCurve], area: str) -> None:
    for number, curve in reversed(list(enumerate(curves))):
        axes.plot(
            curve.points.x,
            curve.points.y,
            color=tone(number),
            linestyle=line_style(number),
            linewidth=1.5,
            solid_joinstyle="round",
            marker="" if curve.marked is None else MARKERS[number % len(MARKERS)],
            markevery=[],  # only in the key, which so explains the mark of the operating point
            markersize=6,
            markeredgecolor=PAPER,
            label=f"{plain_text(curve.display)}: {area} {estimate_text(curve.area)}",
        )
        if curve.marked is not None:
            axes.plot(
                *([value] for value in curve.marked),
                color=tone(number),
                marker=MARKERS[number % len(MARKERS)],
                markersize=7,
                markeredgecolor=PAPER,
                linestyle="none",
                zorder=4,
                clip_on=False,
            )
    axes.set_title(title)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        loc="upper left",
        bbox_to_anchor=(-_LEFT / _PLOT + 0.01, -(_BELOW_PLOT - 0.15) / _PLOT),
        borderaxespad=0.0,
        handlelength=3.6,
        labelcolor=INK,
    )


def _marks(marked: str) -> str:
    return f" Marks: {marked}." if marked else ""


def _describe(curves: Sequence[NamedCurve], area: str) -> str:
    return " ".join(f"{curve.display}: {area} {estimate_text(curve.area)}." for curve in curves)


def _predictive_series(
    found: Sequence[PredictiveValues],
) -> tuple[tuple[tuple[Estimate, ...], str, str], ...]:
    return (
        (tuple(item.ppv for item in found), "PPV, when flagged", MARKERS[0]),
        (tuple(item.npv for item in found), "NPV, when not flagged", MARKERS[1]),
    )


def _describe_values(rows: str, point: OperatingPoint) -> str:
    return " ".join(
        f"{rows.capitalize()}, prevalence {item.prevalence:.0%}: PPV {estimate_text(item.ppv)}, NPV "
        f"{estimate_text(item.npv)}."
        for item in point.by_prevalence
    )


def _or(value: float | None, other: float | None) -> float:
    chosen = other if value is None else value
    return float("nan") if chosen is None else chosen
