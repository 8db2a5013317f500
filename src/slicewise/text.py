"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Returns rows of cells in columns.

    Args:
        rows: Cells, as many in every row; at least one row.
        left: Number of columns, from the first, that are aligned to the left; the others are to the right.

    >>> print(aligned([("model", "slices"), ("mine", "7")], left=1))
    model  slices
    mine        7
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)
