"""How figures look, and how one drawing becomes a PNG, an SVG and an SVG inside the page.

Figures are drawn in the light colours of `report.css`. Inside the page these become the variables of the style sheet,
so that one drawing serves light and dark. matplotlib is imported where it is used: it is an extra.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = {
    "paper": "#ffffff",
    "ink": "#1b2128",
    "muted": "#58626e",
    "rule": "#d6dbe0",
    "rule-strong": "#9aa4ae",
    "tone-0": "#16191d",
    "tone-1": "#0072b2",
    "tone-2": "#c2500a",
    "tone-3": "#007a5a",
    "tone-4": "#a8508a",
    "tone-5": "#7a6200",
}
"""Variables of the style sheet and their values on light paper; the tones are told apart by the colour-blind."""

PAPER, INK, MUTED, RULE, RULE_STRONG = (PALETTE[name] for name in ("paper", "ink", "muted", "rule", "rule-strong"))
TONES = tuple(colour for name, colour in PALETTE.items() if name.startswith("tone-"))
MARKERS = ("o", "s", "^", "D", "v", "P")
LINE_STYLES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1.2, 1.6)),
    (0, (7, 2, 1.2, 2)),
    (0, (3, 3)),
    (0, (9, 2, 1.2, 1.6, 1.2, 2)),
)

_SETTINGS: Any = {  # the stubs list every key that matplotlib knows
    "svg.fonttype": "none",
    "svg.hashsalt": "slicewise",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.color": INK,
    "text.parse_math": False,  # a label may hold what reads as a formula
    "axes.edgecolor": RULE_STRONG,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE_STRONG,
    "ytick.color": RULE_STRONG,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
}
_DOTS_PER_INCH = 150
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_VARIABLES = {colour: f"var(--{name})" for name, colour in PALETTE.items()}


@dataclass(frozen=True)
class Illustration:
    """One figure in all its forms.

    Attributes:
        name: Name of its files without ending, and of its ids in the page.
        title: What it shows, in a few words.
        description: Its key numbers in words, for those who do not see it.
        caption: What stands below it.
        width_px: Width that it is drawn for, in CSS pixels.
        inline: An `svg` element for the page, in the colours of its style sheet. All texts in it are escaped.
        png: The picture.
        svg: The same as a file of its own, with text as text.
    """

    name: str
    title: str
    description: str
    caption: str
    width_px: int
    inline: Markup
    png: bytes
    svg: bytes


@contextmanager
def drawing() -> Iterator[None]:
    """Has matplotlib draw as it does by default but for the look of slicewise, until the block ends."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # A name may hold letters that the font lacks: they are boxes in the PNG and right in the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float, *, left: float, right: float, bottom: float, top: float) -> Figure:
    """Returns an empty figure, without pyplot, which keeps figures for the whole process.

    Sides and margins are in inches. Fixed margins take half the time of a layout that measures every text.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, bottom / height, 1.0 - right / width, 1.0 - top / height)
    return figure


def illustrate(figure: Figure, *, name: str, title: str, description: str, caption: str) -> Illustration:
    """Turns a drawing into files and an element of the page, inside `drawing`.

    Args:
        figure: The drawing.
        name: Unique within the page, made of lower-case letters and `_`.
        title: As in `Illustration`.
        description: Likewise.
        caption: Likewise.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None, "Title": plain_text(title, 200)})
    kept = {"Date": None, "Creator": None, "Format": None, "Type": None, "Title": plain_text(title, 200)}
    figure.savefig(svg, format="svg", metadata=kept)
    inline = inline_svg(svg.getvalue(), name, title, description)
    width = round(figure.get_figwidth() * 96)
    return Illustration(name, title, description, caption, width, Markup(inline), png.getvalue(), svg.getvalue())  # noqa: S704  inline_svg escapes every text


def inline_svg(content: bytes, name: str, title: str, description: str) -> str:
    """Turns an SVG of matplotlib into an element of the page.

    Colours become variables of the style sheet, ids get the name of the figure before them, and title and description
    are its accessible name.
    """
    root = ET.fromstring(content)  # noqa: S314  matplotlib has just written it
    viewed = root.attrib["viewBox"]
    body = [child for child in root if _local(child.tag) not in {"metadata", "title"}]
    svg = ET.Element("svg", {"viewBox": viewed, "role": "img", "aria-labelledby": f"{name}-title {name}-description"})
    ET.SubElement(svg, "title", id=f"{name}-title").text = title
    ET.SubElement(svg, "desc", id=f"{name}-description").text = description
    svg.extend(body)
    wanted = _references(svg)
    for parent in list(svg.iter()):
        for child in [child for child in parent if _local(child.tag) == "style"]:
            parent.remove(child)
    for element in svg.iter():
        _adapt(element, name, wanted)
    return ET.tostring(svg, encoding="unicode")


def plain_text(text: str, longest: int = 40) -> str:
    """Returns a text that any file can hold and that leaves room for others.

    >>> plain_text("a" * 50, longest=10), plain_text("bad" + chr(0) + "name")
    ('aaaaaaaaa…', 'bad�name')
    """
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def tone(number: int) -> str:
    """Returns the colour of a label."""
    return TONES[number % len(TONES)]


def line_style(number: int) -> Any:
    """Returns the dashes of a label; labels of one colour have different ones."""
    return LINE_STYLES[(number + number // len(TONES)) % len(LINE_STYLES)]


def unit_square(axes: Axes, across: str, up: str) -> None:
    """Sets axes up for two shares between 0 and 1."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=across, ylabel=up, aspect="equal")
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])


def _references(svg: ET.Element) -> set[str]:
    """Returns the ids that something in the picture points to."""
    found: set[str] = set()
    for element in svg.iter():
        for key, value in element.attrib.items():
            found.update(_REFERENCE.findall(value))
            if _local(key) == "href":
                found.add(value.removeprefix("#"))
    return found


def _adapt(element: ET.Element, name: str, wanted: set[str]) -> None:
    """Takes name spaces away, and puts variables for colours and own ids for those of matplotlib."""
    element.tag = _local(element.tag)
    if element.tag in {"title", "desc"}:
        return
    attributes = {_local(key): value for key, value in element.attrib.items()}
    if element.tag != "svg" and attributes.pop("id", "") in wanted:
        attributes["id"] = f"{name}-{element.attrib['id']}"
    if "href" in attributes:
        attributes["href"] = f"#{name}-{attributes['href'].removeprefix('#')}"
    for key, value in attributes.items():
        own = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        attributes[key] = own if key in {"id", "href"} else _COLOUR.sub(_variable, own)
    element.attrib.clear()
    element.attrib.update(attributes)


def _variable(colour: re.Match[str]) -> str:
    return _VARIABLES[colour[0].lower()]


def _local(name: str) -> str:
    return name.rpartition("}")[2]
