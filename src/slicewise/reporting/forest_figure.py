"""The forest plot of subgroups: an estimate with its interval for every part of the slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slicewise.evaluation.evidence import Estimate, Subgroup
from slicewise.reporting.drawing import (
    INK,
    MUTED,
    TONES,
    Illustration,
    illustrate,
    new_figure,
    plain_text,
)
from slicewise.reporting.evaluation_wording import attribute_text, count_text, estimate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUBGROUP_METRICS = {
    "slice_auroc": "Slice AUROC",
    "slice_sensitivity": "Slice sensitivity",
    "slice_specificity": "Slice specificity",
    "study_auroc": "Study AUROC",
}
"""Metrics of a subgroup, and their names for people."""

TOO_SMALL = "too small"
MOST_ROWS = 60
"""Further subgroups stand in the table only."""

_WIDTH, _ROW, _LEFT, _TOP, _BOTTOM = 11.0, 0.235, 2.75, 0.62, 0.35


@dataclass(frozen=True)
class _Row:
    """A line of the plot: a heading where there is no group."""

    text: str
    group: Subgroup | None


def forest_figure(
    name: str, title: str, subgroups: Mapping[str, Sequence[Subgroup]], whole: Mapping[str, Estimate | None]
) -> Illustration:
    """Draws estimates of all subgroups beside each other, inside `drawing`.

    Args:
        name: As for `illustrate`.
        title: As there.
        subgroups: Parts by the attribute that parts them, at least one.
        whole: The same metrics on all slices, drawn as a line.
    """
    rows = _rows(subgroups)
    height = _TOP + _BOTTOM + _ROW * len(rows)
    figure = new_figure(_WIDTH, height, left=_LEFT, right=0.12, bottom=_BOTTOM, top=_TOP)
    figure.suptitle(title, x=0.01, y=1.0 - 0.12 / height, ha="left", va="top", fontsize=9.5, fontweight="bold")
    panels = figure.subplots(1, len(SUBGROUP_METRICS), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.1})[0]
    for axes, (metric, display) in zip(panels, SUBGROUP_METRICS.items(), strict=True):
        _draw(axes, rows, metric, whole.get(metric))
        axes.set_title(display)
    _label_rows(panels[0], rows)
    caption = (
        f"{title}. Squares are estimates with 95 % intervals, patients resampled; the dashed line is the estimate on "
        f"all rows. Subgroups with too few patients for a figure are marked “{TOO_SMALL}”."
    )
    return illustrate(figure, name=name, title=title, description=_describe(subgroups), caption=caption)


def _rows(subgroups: Mapping[str, Sequence[Subgroup]]) -> list[_Row]:
    rows = []
    for attribute, groups in subgroups.items():
        rows.append(_Row(plain_text(attribute_text(attribute)), None))
        rows.extend(_Row(f"{plain_text(group.group, 26)} (n = {group.n_patients:,})", group) for group in groups)
    return rows[:MOST_ROWS]


def _draw(axes: Axes, rows: Sequence[_Row], metric: str, whole: Estimate | None) -> None:
    if whole is not None and whole.value is not None:
        axes.axvline(whole.value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows):
        if row.group is None:
            continue
        found = None if row.group.too_small else row.group.metrics.get(metric)
        if found is None or found.value is None:
            text = TOO_SMALL if row.group.too_small else "not defined"
            axes.text(0.5, place, text, ha="center", va="center", fontsize=7.5, color=MUTED, style="italic")
            continue
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], color=TONES[1], linewidth=1.3, marker="|", markersize=5)
        axes.plot([found.value], [place], color=TONES[1], marker="s", markersize=4.5, clip_on=False)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", ".25", ".5", ".75", "1"])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _label_rows(axes: Axes, rows: Sequence[_Row]) -> None:
    axes.set_yticks(range(len(rows)), [row.text for row in rows])
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_color(INK)
        if row.group is None:
            text.set_fontweight("bold")


def _describe(subgroups: Mapping[str, Sequence[Subgroup]]) -> str:
    return " ".join(
        f"{attribute_text(attribute)}, {group.group}: {count_text(group.n_patients, 'patient')}, "
        + (TOO_SMALL if group.too_small else f"slice AUROC {estimate_text(group.metrics.get('slice_auroc'))}")
        + "."
        for attribute, groups in subgroups.items()
        for group in groups
    )
