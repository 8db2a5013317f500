"""The axial profile: the probability of every label along the axis, as an inline SVG.

Colours come from the style sheet of the page (classes `tone-0` to `tone-5`), so that one picture serves light and dark;
dashes are drawn here, so that no curve is told by its colour alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET  # written here, never parsed

TONES = 6
"""Number of colours in the style sheet; later labels take them again with other dashes."""

_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 4", "12 3 2 3 2 3")
_WIDTH, _LEFT, _PLOT_RIGHT, _TOP, _PLOT_HEIGHT = 960.0, 236.0, 904.0, 22.0, 240.0
_STRIP_TOP, _STRIP_STEP, _BOTTOM = _TOP + _PLOT_HEIGHT + 34.0, 21.0, 46.0

_Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One label along the axis.

    Attributes:
        display: Name of the label for people.
        threshold: Operating point, flagged at or above it.
        values: Probability of every slice, in axial order.
        known: Which slices are known to have the finding; empty where labels are not shown.
    """

    display: str
    threshold: float
    values: tuple[float, ...]
    known: tuple[bool, ...] = ()


def axial_profile_svg(
    positions: Sequence[float],
    names: Sequence[str],
    curves: Sequence[Curve],
    *,
    element_id: str,
    axis_title: str,
    with_cursor: bool = False,
) -> str:
    """Draws the probabilities of all labels over the axial position, and below them which slices are flagged.

    Args:
        positions: Position of every slice along the axis, ascending, at least one.
        names: Name of every slice for tooltips.
        curves: The labels, each with one value a slice.
        element_id: Unique within the page.
        axis_title: What the positions are, with their unit.
        with_cursor: Adds a line that a script can move, see `report_viewer.js`, and in `data-places` where it stands
            for every slice.

    Returns:
        An `svg` element. All texts in it are escaped.
    """
    axis = _Axis(positions, names)
    strip_bottom = _STRIP_TOP + _STRIP_STEP * len(curves)
    height = strip_bottom + _BOTTOM
    title_id, description_id = f"{element_id}-title", f"{element_id}-description"
    svg = ET.Element(
        "svg",
        {
            "class": "profile",
            "viewBox": f"0 0 {_WIDTH:.0f} {height:.0f}",
            "role": "img",
            "aria-labelledby": f"{title_id} {description_id}",
        },
    )
    _add(svg, "title", id=title_id).text = "Axial profile of the probabilities"
    _add(svg, "desc", id=description_id).text = " ".join(_describe(curve, names) for curve in curves)
    _draw_axes(svg, axis, strip_bottom, axis_title)
    _draw_thresholds(svg, curves)
    for number, curve in reversed(list(enumerate(curves))):
        _draw_curve(svg, number, curve, axis)
    _draw_key(svg, with_known=any(curve.known for curve in curves))
    for number, curve in enumerate(curves):
        _draw_strip(svg, number, curve, axis)
    if with_cursor:
        svg.set("data-places", " ".join(f"{axis.x(position):.1f}" for position in positions))
        _line(svg, (axis.x(positions[0]), _TOP - 8), (axis.x(positions[0]), strip_bottom), "cursor")
    return ET.tostring(svg, encoding="unicode")


@dataclass(frozen=True)
class _Axis:
    """The slices along the axis, and where they stand in the drawing."""

    positions: Sequence[float]
    names: Sequence[str]

    @property
    def low(self) -> float:
        return self.positions[0] - self._margin

    @property
    def high(self) -> float:
        return self.positions[-1] + self._margin

    @property
    def _margin(self) -> float:
        return 0.02 * (self.positions[-1] - self.positions[0]) or 1.0

    def x(self, position: float) -> float:
        return _LEFT + (position - self.low) / (self.high - self.low) * (_PLOT_RIGHT - _LEFT)

    def ticks(self) -> list[float]:
        """Returns about eight round positions, 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / 8
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]

    def spans(self) -> list[tuple[float, float]]:
        """Returns from where to where each slice reaches: half way to its neighbours, at the ends to the edge."""
        middles = [(a + b) / 2 for a, b in itertools.pairwise(self.positions)]
        return list(itertools.pairwise([self.low, *middles, self.high]))


def _y(probability: float) -> float:
    return _TOP + (1.0 - min(max(probability, 0.0), 1.0)) * _PLOT_HEIGHT


def _draw_axes(svg: ET.Element, axis: _Axis, strip_bottom: float, axis_title: str) -> None:
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        _line(svg, (_LEFT, _y(level)), (_PLOT_RIGHT, _y(level)), "grid")
        _text(svg, _LEFT - 8, _y(level) + 4, f"{level:.2f}", "tick end")
    _text(svg, _LEFT - 48, _TOP + 4, "Probability", "axis-title end")
    for position in axis.ticks():
        x = axis.x(position)
        _line(svg, (x, _TOP), (x, strip_bottom), "grid")
        _text(svg, x, strip_bottom + 17, f"{position:g}", "tick middle")
    _line(svg, (_LEFT, _y(0)), (_PLOT_RIGHT, _y(0)), "axis")
    _text(svg, (_LEFT + _PLOT_RIGHT) / 2, strip_bottom + 37, axis_title, "axis-title middle")
    _text(svg, 0, _STRIP_TOP - 9, "Flagged slices", "axis-title")
    _text(svg, _WIDTH, _STRIP_TOP - 9, "Threshold", "axis-title end")


def _draw_thresholds(svg: ET.Element, curves: Sequence[Curve]) -> None:
    """One line across where all labels share a threshold, else a notch at the right edge for each."""
    if len({curve.threshold for curve in curves}) == 1:
        y = _y(curves[0].threshold)
        _line(svg, (_LEFT, y), (_PLOT_RIGHT, y), "threshold")
        _text(svg, _PLOT_RIGHT + 5, y + 4, f"{curves[0].threshold:.3f}", "tick")
        return
    for number, curve in enumerate(curves):
        y = _y(curve.threshold)
        group = _add(svg, "g", **{"class": f"notch tone-{number % TONES}"})
        _add(group, "title").text = f"Threshold of {curve.display}: {curve.threshold:.3f}"
        _add(group, "path", d=f"M{_PLOT_RIGHT + 2:.1f} {y:.1f}l9 -4.5v9z")
        _line(group, (_PLOT_RIGHT - 16, y), (_PLOT_RIGHT, y), "notch-line", _dash(number))


def _draw_curve(svg: ET.Element, number: int, curve: Curve, axis: _Axis) -> None:
    group = _add(svg, "g", **{"class": f"curve tone-{number % TONES}"})
    points = " ".join(
        f"{axis.x(position):.1f},{_y(value):.1f}" for position, value in zip(axis.positions, curve.values, strict=True)
    )
    _add(group, "polyline", points=points, **{"stroke-dasharray": _dash(number)})
    for position, value, name in zip(axis.positions, curve.values, axis.names, strict=True):
        if value >= curve.threshold:
            dot = _add(group, "circle", cx=f"{axis.x(position):.1f}", cy=f"{_y(value):.1f}", r="3")
            _add(dot, "title").text = f"{curve.display}, {name}: {value:.3f}"


def _draw_key(svg: ET.Element, *, with_known: bool) -> None:
    """Says, in the free corner beside the plot, how to read the marks."""
    top = _y(0.62)
    key = _add(svg, "g", **{"class": "key"})
    _add(key, "circle", cx="8", cy=f"{top:.1f}", r="3")
    _text(key, 24, top + 4, "slice at or above the", "tick")
    _text(key, 24, top + 19, "threshold of the label", "tick")
    _add(key, "path", d=f"M3 {top + 42:.1f}l9 -4.5v9z")
    _text(key, 24, top + 46, "threshold", "tick")
    if with_known:
        _add(key, "rect", x="1", y=f"{top + 62:.1f}", width="14", height="16", **{"class": "known"})
        _text(key, 24, top + 74, "slice with the finding", "tick")


def _draw_strip(svg: ET.Element, number: int, curve: Curve, axis: _Axis) -> None:
    """Draws the legend entry of a label and, in line with it, a mark at each flagged slice."""
    y = _STRIP_TOP + (number + 0.5) * _STRIP_STEP
    group = _add(svg, "g", **{"class": f"strip tone-{number % TONES}"})
    _line(group, (0.0, y), (26.0, y), "sample", _dash(number))
    _text(group, 34, y + 4, curve.display, "tick name")
    _line(group, (_LEFT, y), (_PLOT_RIGHT, y), "rail")
    for (left, right), name, value in zip(axis.spans(), axis.names, curve.values, strict=True):
        if value >= curve.threshold:
            x, width = axis.x(left), axis.x(right) - axis.x(left)
            gap = 1.0 if width > 4 else 0.0
            box = _add(group, "rect", x=f"{x + gap:.1f}", y=f"{y - 5:.1f}", width=f"{width - 2 * gap:.1f}", height="10")
            _add(box, "title").text = f"{curve.display}, {name}: {value:.3f}"
    _draw_known(group, curve, axis, y)
    _text(group, _WIDTH, y + 4, f"{curve.threshold:.3f}", "tick end")


def _draw_known(group: ET.Element, curve: Curve, axis: _Axis, y: float) -> None:
    """Frames every run of slices that are known to have the finding, higher than the mark of a flagged slice."""
    runs = itertools.groupby(
        zip(axis.spans(), curve.known or (False,) * len(axis.names), strict=True), lambda of: of[1]
    )
    for is_known, run in runs:
        if is_known:
            spans = [span for span, _ in run]
            left, right = axis.x(spans[0][0]), axis.x(spans[-1][1])
            box = _add(group, "rect", x=f"{left:.1f}", y=f"{y - 8:.1f}", width=f"{right - left:.1f}", height="16")
            box.set("class", "known")
            _add(box, "title").text = f"{curve.display}: slices with the finding"


def _describe(curve: Curve, names: Sequence[str]) -> str:
    known = f" {sum(curve.known)} slices are known to have the finding." if curve.known else ""
    highest = max(curve.values)
    flagged = sum(value >= curve.threshold for value in curve.values)
    return (
        f"{curve.display}: highest {highest:.3f} at {names[curve.values.index(highest)]}, "
        f"at or above its threshold of {curve.threshold:.3f} on {flagged} of {len(names)} slices.{known}"
    )


def _dash(number: int) -> str:
    """Returns a dash pattern; label and label + TONES share a colour but not their dashes."""
    return _DASHES[(number + number // TONES) % len(_DASHES)]


def _line(parent: ET.Element, start: _Point, end: _Point, style: str, dash: str = "none") -> None:
    ends = {"x1": f"{start[0]:.1f}", "y1": f"{start[1]:.1f}", "x2": f"{end[0]:.1f}", "y2": f"{end[1]:.1f}"}
    _add(parent, "line", **ends, **{"class": style, "stroke-dasharray": dash})


def _text(parent: ET.Element, x: float, y: float, text: str, style: str) -> None:
    _add(parent, "text", x=f"{x:.1f}", y=f"{y:.1f}", **{"class": style}).text = text


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)
