from __future__ import annotations

from slicewise.text import aligned


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")], left=1) == "a    bb\nccc   d"
    assert aligned([("a", "bb"), ("ccc", "d")], left=0) == "  a  bb\nccc   d"


def test_no_line_ends_with_spaces() -> None:
    assert aligned([("a", "bbb"), ("c", "")], left=2) == "a  bbb\nc"
