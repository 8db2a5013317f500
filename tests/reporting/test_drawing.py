from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from PIL import Image

import slicewise.reporting
from slicewise.reporting.drawing import (
    INK,
    LINE_STYLES,
    PALETTE,
    TONES,
    Illustration,
    drawing,
    illustrate,
    line_style,
    new_figure,
    plain_text,
    tone,
    unit_square,
)


def draw(title: str = "A title", label: str = "a label") -> Illustration:
    with drawing():
        figure = new_figure(4.0, 3.0, left=0.5, right=0.1, bottom=0.5, top=0.3)
        axes = figure.subplots()
        unit_square(axes, "across", "up")
        axes.plot([0, 0.5, 1], [0, 0.2, 1], color=TONES[1], marker="o", label=label)
        axes.fill_between([0, 1], [0, 0], [1, 1], color=TONES[2], alpha=0.1)
        axes.set_title(title)
        axes.legend()
        return illustrate(figure, name="one", title=title, description="What is <b>drawn</b>.", caption="Below.")


def test_the_palette_is_that_of_the_style_sheet() -> None:
    css = (Path(slicewise.reporting.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    light = css[: css.index("@media")]
    assert {
        name: colour for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light) if name in PALETTE
    } == PALETTE


def test_inside_the_page_every_colour_is_a_variable() -> None:
    inline = str(draw().inline)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!-)", re.sub(r'(url\(|href=")#[\w-]+', "", inline))
    assert {"var(--paper)", "var(--ink)", "var(--muted)", "var(--tone-1)", "var(--tone-2)"} <= set(
        re.findall(r"var\(--[\w-]+\)", inline)
    )


def test_inside_the_page_a_figure_is_an_image_with_a_name_and_a_description() -> None:
    svg = ET.fromstring(str(draw("<i>Title</i>").inline))
    assert svg.attrib["role"] == "img"
    texts = {element.attrib["id"]: element.text for element in svg if element.tag in {"title", "desc"}}
    assert texts == {"one-title": "<i>Title</i>", "one-description": "What is <b>drawn</b>."}
    assert svg.attrib["aria-labelledby"].split() == list(texts)


def test_ids_inside_the_page_have_the_name_of_the_figure_and_are_all_used() -> None:
    inline = str(draw().inline)
    ids = re.findall(r'\bid="([^"]+)"', inline)
    assert len(ids) == len(set(ids))
    assert all(found.startswith("one-") for found in ids)
    used = set(re.findall(r"url\(#([^)]+)\)", inline)) | set(re.findall(r'href="#([^"]+)"', inline))
    assert used == set(ids) - {"one-title", "one-description"}
    assert used
    assert "<style" not in inline


def test_the_same_drawing_gives_the_same_bytes() -> None:
    assert draw() == draw()


def test_files_are_a_picture_and_an_svg_with_text_as_text() -> None:
    found = draw()
    assert Image.open(io.BytesIO(found.png)).size == (600, 450)
    root = ET.fromstring(found.svg)
    assert "a label" in {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert b"<dc:date>" not in found.svg
    assert found.width_px == 384


@pytest.mark.parametrize("text", ["$x^2$", "\x00\x07", "bad\udcff", "出血", "</script>", "a" * 500])
def test_any_text_can_be_drawn(text: str) -> None:
    found = draw(plain_text(text), plain_text(text))
    ET.fromstring(found.svg)
    assert "<script" not in str(found.inline)


def test_drawing_leaves_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    with drawing():
        assert mpl.rcParams["text.color"] == INK
    assert dict(mpl.rcParams) == before


def test_labels_of_one_colour_have_different_dashes() -> None:
    styles = {(tone(number), str(line_style(number))) for number in range(3 * len(TONES))}
    assert len(styles) == 3 * len(TONES)
    assert len({str(line_style(number)) for number in range(len(TONES))}) == len(LINE_STYLES)
