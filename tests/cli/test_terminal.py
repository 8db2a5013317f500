from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.cli.terminal import display_width, printable, shortened, table


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("head", 4),
        ("頭部", 4),
        ("ｶﾅ", 2),  # half-width
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}b", 3),
        ("é", 1),
        ("e\N{COMBINING ACUTE ACCENT}", 1),
        ("ที่", 1),  # a consonant of Thai with two marks
        ("Голова", 6),
    ],
)
def test_width_on_the_terminal(text: str, width: int) -> None:
    assert display_width(text) == width


@given(st.text(max_size=60), st.integers(min_value=3, max_value=40), st.booleans())
def test_shortened_text_fits_and_is_part_of_the_whole(text: str, width: int, keep_end: bool) -> None:  # noqa: FBT001
    found = shortened(text, width, keep_end=keep_end)
    assert display_width(found) <= width
    if display_width(text) <= width:
        assert found == text
    elif keep_end:
        assert found.startswith("...")
        assert text.endswith(found.removeprefix("..."))
    else:
        assert found.endswith("...")
        assert text.startswith(found.removesuffix("..."))


def test_shortened_text_is_as_long_as_it_may_be() -> None:
    assert shortened("x" * 50, 20) == "x" * 17 + "..."
    assert shortened("頭" * 50, 20) == "頭" * 8 + "..."  # a ninth would take the 20th and 21st column
    assert shortened("a/b/" * 10, 8, keep_end=True) == ".../a/b/"


@given(st.text())
def test_printable_text_is_printable_and_keeps_what_was(text: str) -> None:
    found = printable(text)
    assert found.isprintable()
    assert found.encode("utf-8").decode("utf-8") == found
    if text.isprintable():
        assert found == text


def test_bytes_of_no_encoding_and_marks_that_turn_text_are_shown() -> None:
    assert printable("a\udcffb\N{RIGHT-TO-LEFT OVERRIDE}c\td") == r"a\udcffb\u202ec\td"


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert printable("é 頭") == r"é \u982d"


def test_columns_line_up() -> None:
    rows = [("read", "slices", "from"), ("頭部", "28", "a"), ("e\N{COMBINING ACUTE ACCENT}x", "1", "")]
    assert table(rows, right=[1]).splitlines() == [
        "read  slices  from",
        "頭部      28  a",
        "e\N{COMBINING ACUTE ACCENT}x         1",
    ]
