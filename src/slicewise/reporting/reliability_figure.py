"""Reliability diagrams: how often a finding is there, by its probability, above a histogram of the probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slicewise.evaluation.curves import ReliabilityBins
from slicewise.evaluation.evidence import Estimate
from slicewise.evaluation.metrics import CALIBRATION_BINS
from slicewise.reporting.drawing import (
    INK,
    MUTED,
    RULE_STRONG,
    TONES,
    Illustration,
    illustrate,
    new_figure,
    plain_text,
    unit_square,
)
from slicewise.reporting.evaluation_wording import estimate_text, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_CELL_WIDTH, _CELL_HEIGHT, _TITLE = 3.4, 4.55, 0.35
"""Inches: of a label with its margins, and of the title of the figure."""
_EDGES = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)


@dataclass(frozen=True)
class LabelReliability:
    """One label.

    Attributes:
        display: Its name for people.
        bins: At least one of them holds rows.
        metrics: `ece`, `calibration_slope` and `calibration_intercept`, as far as known.
    """

    display: str
    bins: ReliabilityBins
    metrics: Mapping[str, Estimate]


def reliability_figure(name: str, title: str, labels: Sequence[LabelReliability], rows: str) -> Illustration:
    """Draws one diagram a label, inside `drawing`.

    Args:
        name: As for `illustrate`.
        title: As there.
        labels: At least one.
        rows: What is counted, as in "slices".
    """
    columns = min(len(labels), _COLUMNS)
    lines = math.ceil(len(labels) / columns)
    width, height = _CELL_WIDTH * columns, _CELL_HEIGHT * lines + _TITLE
    figure = new_figure(width, height, left=0.0, right=0.0, bottom=0.0, top=0.0)
    figure.suptitle(title, x=0.01, y=1.0 - 0.12 / height, ha="left", va="top", fontsize=9.5, fontweight="bold")
    for place, label in enumerate(labels):
        line, column = divmod(place, columns)
        left, bottom = _CELL_WIDTH * column + 0.65, height - _TITLE - _CELL_HEIGHT * (line + 1)
        diagram = _axes(figure, left, bottom + 1.35, 2.6, 2.6)
        _draw_diagram(diagram, label)
        _draw_histogram(_axes(figure, left, bottom + 0.2, 2.6, 0.65), label.bins, rows)
    caption = (
        f"{title}: share of positives over the mean probability of {CALIBRATION_BINS} bins of equal width; bars are "
        f"95 % intervals by Wilson's method, which takes {rows} for independent. On the dotted diagonal, probabilities "
        f"are true to their word. Below: {rows} in every bin, on a logarithmic scale."
    )
    return illustrate(figure, name=name, title=title, description=" ".join(map(_describe, labels)), caption=caption)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes at a place in inches."""
    across, up = figure.get_figwidth(), figure.get_figheight()
    axes: Axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    return axes


def _draw_diagram(axes: Axes, label: LabelReliability) -> None:
    bins = label.bins
    unit_square(axes, "Probability", "Share of positives")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 3)))
    filled = bins.count > 0
    share = bins.positive_share[filled]
    reach = np.abs(np.stack((share - bins.low[filled], bins.high[filled] - share)))
    axes.errorbar(
        bins.mean_probability[filled],
        share,
        yerr=reach,
        color=TONES[1],
        ecolor=TONES[1],
        elinewidth=1.0,
        capsize=2.0,
        marker="o",
        markersize=4.0,
        linewidth=1.2,
        clip_on=False,
    )
    axes.set_title(plain_text(label.display), pad=18)
    axes.text(0.0, 1.025, _figures(label), transform=axes.transAxes, fontsize=8.0, color=INK)


def _draw_histogram(axes: Axes, bins: ReliabilityBins, rows: str) -> None:
    axes.bar(_EDGES[:-1], bins.count, width=0.9 * np.diff(_EDGES), align="edge", color=RULE_STRONG)
    axes.set(xlim=(-0.01, 1.01), yscale="log", ylim=(0.7, 2.0 * bins.count.max()), ylabel=rows.capitalize())
    powers = [10**power for power in range(0, 9, 2) if 10**power <= bins.count.max()]
    axes.set_yticks(powers, [f"{power:,}" for power in powers])
    axes.minorticks_off()
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], [""] * 5)


def _figures(label: LabelReliability) -> str:
    names = (("ece", "ECE"), ("calibration_slope", "slope"), ("calibration_intercept", "intercept"))
    found = ((display, label.metrics.get(name)) for name, display in names)
    return ", ".join(f"{display} {number_text(known.value)}" for display, known in found if known is not None)


def _describe(label: LabelReliability) -> str:
    metrics = label.metrics
    return (
        f"{label.display}: expected calibration error {estimate_text(metrics.get('ece'))}, slope "
        f"{estimate_text(metrics.get('calibration_slope'))}, intercept "
        f"{estimate_text(metrics.get('calibration_intercept'))}."
    )
