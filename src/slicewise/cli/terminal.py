"""Text of strangers on the terminal: headers and file names hold any character, of any width."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

INPUT_HELP = "DICOM file, folder of any depth, zip archive, DICOMDIR or NIfTI file"
"""Help of the argument INPUT."""

_ELLIPSIS = "..."
_COLUMN_GAP = "  "


def printable(text: str) -> str:
    r"""Returns text that changes nothing on the terminal but the place where it stands, and that stdout can encode.

    >>> printable("HEAD\n\x1b[2J 頭部")
    'HEAD\\n\\x1b[2J 頭部'
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def display_width(text: str) -> int:
    """Returns how many columns of a terminal printable text takes, Unicode Standard Annex 11.

    >>> display_width("head"), display_width("頭部")
    (4, 4)
    """
    return sum(map(_character_width, text))


def shortened(text: str, width: int, *, keep_end: bool = False) -> str:
    """Returns text that takes at most so many columns; what is cut off its end, or its start, is shown by an ellipsis.

    >>> shortened("STANDARD BRAIN", 9), shortened("study/series/1", 9, keep_end=True)
    ('STANDA...', '...ries/1')
    """
    if display_width(text) <= width:
        return text
    kept, room = [], width - len(_ELLIPSIS)
    for character in reversed(text) if keep_end else text:
        room -= _character_width(character)
        if room < 0:
            break
        kept.append(character)
    return _ELLIPSIS + "".join(reversed(kept)) if keep_end else "".join(kept) + _ELLIPSIS


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Returns rows of cells in columns, by the width that they have on a terminal.

    Args:
        rows: Cells, as many in every row; at least one row.
        right: Columns, from 0, that are aligned to the right.

    >>> print(table([("series", "slices"), ("頭部 5mm", "28")], right=[1]))
    series    slices
    頭部 5mm      28
    """
    widths = [max(display_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - display_width(cell))
            cells.append(padding + cell if column in right else cell + padding)
        lines.append(_COLUMN_GAP.join(cells).rstrip())
    return "\n".join(lines)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
