from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.reporting.profile import TONES, Curve, axial_profile_svg


def draw(positions: list[float], curves: list[Curve]) -> ET.Element:
    names = [f"index {index}" for index in range(len(positions))]
    return ET.fromstring(axial_profile_svg(positions, names, curves, element_id="p1", axis_title="Position (mm)"))


def points(curve: ET.Element) -> list[tuple[float, float]]:
    line = curve.find("polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in svg.iter() if name in element.attrib.get("class", "").split()]


def test_profile_plots_probability_over_true_position() -> None:
    svg = draw([0.0, 10.0, 40.0], [Curve("a", 0.9, (0.0, 0.5, 1.0))])
    (curve,) = of_class(svg, "curve")
    (x0, y0), (x1, y1), (x2, y2) = points(curve)
    assert (x2 - x0) / (x1 - x0) == pytest.approx(4.0, rel=0.01)
    assert y0 > y1 > y2
    assert y0 - y1 == pytest.approx(y1 - y2)
    ticks = {element.text: float(element.attrib["y"]) for element in of_class(svg, "tick")}
    assert ticks["0.50"] - 4 == pytest.approx(y1, abs=0.1)
    assert ticks["1.00"] - 4 == pytest.approx(y2, abs=0.1)


def test_profile_marks_slices_at_or_above_the_threshold_only() -> None:
    svg = draw(
        [0.0, 5.0, 10.0, 15.0], [Curve("a", 0.5, (0.1, 0.5, 0.9, 0.4999)), Curve("b", 0.7, (0.1, 0.2, 0.3, 0.4))]
    )
    titles = [[title.text for title in strip.iter("title")] for strip in of_class(svg, "strip")]
    assert titles == [["a, index 1: 0.500", "a, index 2: 0.900"], []]
    circles = {len(list(curve.iter("circle"))) for curve in of_class(svg, "curve")}
    assert circles == {0, 2}


def test_profile_shows_one_line_for_a_shared_threshold_and_a_notch_each_for_different_ones() -> None:
    values = (0.1, 0.2)
    shared = draw([0.0, 5.0], [Curve("a", 0.5, values), Curve("b", 0.5, values)])
    assert len(of_class(shared, "threshold")) == 1
    assert not of_class(shared, "notch")
    different = draw([0.0, 5.0], [Curve("a", 0.5, values), Curve("b", 0.25, values)])
    assert [notch.findtext("title") for notch in of_class(different, "notch")] == [
        "Threshold of a: 0.500",
        "Threshold of b: 0.250",
    ]


def test_profile_tells_every_label_by_more_than_colour() -> None:
    curves = [Curve(f"label {number}", 0.5, (0.1, 0.2)) for number in range(3 * TONES)]
    svg = draw([0.0, 5.0], curves)
    styles = set()
    for curve in of_class(svg, "curve"):
        line = curve.find("polyline")
        assert line is not None
        styles.add((curve.attrib["class"], line.attrib["stroke-dasharray"]))
    assert len(styles) == 3 * TONES
    first = {style[1] for style in styles if style[0] == "curve tone-0"}
    assert len(first) == 3
    samples = [sample.attrib["stroke-dasharray"] for sample in of_class(svg, "sample")]
    assert len(set(samples[:TONES])) == TONES


def test_profile_is_described_in_words() -> None:
    svg = draw([0.0, 5.0], [Curve("Any finding", 0.5, (0.1, 0.8))])
    assert svg.attrib["role"] == "img"
    described = {element.attrib["id"]: element.text for element in svg if "id" in element.attrib}
    assert svg.attrib["aria-labelledby"].split() == list(described)
    assert (
        described["p1-description"]
        == "Any finding: highest 0.800 at index 1, at or above its threshold of 0.500 on 1 of 2 slices."
    )


def test_profile_escapes_names() -> None:
    text = axial_profile_svg([0.0], ["<b>"], [Curve("<script>&", 0.0, (1.0,))], element_id="p", axis_title="<i>")
    assert "<script" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;&amp;" in text


@given(
    st.lists(st.floats(-2000, 2000), min_size=1, max_size=40).map(sorted),
    st.floats(0, 1),
)
def test_profile_stays_within_its_frame(positions: list[float], probability: float) -> None:
    svg = draw(positions, [Curve("a", 0.5, (probability,) * len(positions))])
    _, _, width, height = (float(number) for number in svg.attrib["viewBox"].split())
    (curve,) = of_class(svg, "curve")
    placed = points(curve)
    assert all(math.isfinite(x) and 0 < x < width and 0 < y < height for x, y in placed)
    assert placed == sorted(placed, key=lambda point: point[0])
    for box in svg.iter("rect"):
        assert float(box.attrib["width"]) >= 0
        assert 0 < float(box.attrib["x"]) < width


def test_profile_frames_runs_of_slices_that_are_known_to_have_the_finding() -> None:
    positions, values = [0.0, 5.0, 10.0, 15.0, 20.0], (0.1, 0.9, 0.9, 0.1, 0.1)
    plain = draw(positions, [Curve("a", 0.5, values)])
    assert of_class(plain, "known") == []
    svg = draw(positions, [Curve("a", 0.5, values, (True, True, False, False, True)), Curve("b", 0.5, values)])
    key, first, second = of_class(svg, "known")
    assert float(key.attrib["x"]) < 30
    boxes = of_class(svg, "strip")[0].findall("rect")
    flagged = [box for box in boxes if "class" not in box.attrib]
    assert float(first.attrib["x"]) + float(first.attrib["width"]) == pytest.approx(
        float(flagged[1].attrib["x"]), abs=2
    )
    assert first.findtext("title") == "a: slices with the finding"
    assert float(second.attrib["x"]) > float(first.attrib["x"]) + float(first.attrib["width"])
    description = next(element.text for element in svg if element.attrib.get("id") == "p1-description")
    assert description is not None
    assert description.count("3 slices are known to have the finding.") == 1


def test_profile_has_a_cursor_and_the_place_of_every_slice_where_it_is_asked_for() -> None:
    curve = Curve("a", 0.9, (0.0, 0.5, 1.0))
    assert not of_class(draw([0.0, 10.0, 40.0], [curve]), "cursor")
    text = axial_profile_svg([0.0, 10.0, 40.0], "abc", [curve], element_id="p", axis_title="mm", with_cursor=True)
    svg = ET.fromstring(text)
    (cursor,) = of_class(svg, "cursor")
    places = [float(x) for x in svg.attrib["data-places"].split()]
    assert places == [x for x, _ in points(of_class(svg, "curve")[0])]
    assert float(cursor.attrib["x1"]) == float(cursor.attrib["x2"]) == places[0]
