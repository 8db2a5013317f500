"""The challenge's own label file, in a fraction of the time of a general CSV reader.

`stage_2_train.csv` has the rows of a slice one after the other, in one order of subtypes: a block of as many bytes for
every slice, which differ in the slice's ID and in the labels. Any other file is left to `rsna.py`, whose general way is
the reference: a test holds the two to each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

HEADER = b"ID,Label\n"
_PREFIX, _DIGITS = b"ID_", 9
_SLICES_AT_ONCE = 1024
"""Blocks that stay in the processor's cache while they are checked."""

_HEXADECIMAL = np.isin(np.arange(256), list(b"0123456789abcdef"))

Bytes = npt.NDArray[np.uint8]


def read_blocks(path: Path, labels: Sequence[str]) -> pl.DataFrame | None:
    """Reads a label file whose every slice has the same rows.

    Args:
        path: The file.
        labels: Names of the subtypes.

    Returns:
        Columns `sop_uid` and one a label with 0 and 1, one row a block; None if the file is of another form.
    """
    if path.stat().st_size <= len(HEADER):
        return None
    content = np.memmap(path, dtype=np.uint8, mode="r")
    body = content[len(HEADER) :]
    first = body[: 64 * len(labels)].tobytes().split(b"\n")[: len(labels)]
    names = [_subtype(line) for line in first]
    block = sum(len(line) + 1 for line in first)
    if content[: len(HEADER)].tobytes() != HEADER or sorted(names) != sorted(labels) or len(body) % block:
        return None
    starts = np.cumsum([0, *(len(line) + 1 for line in first[:-1])]) + len(_PREFIX)
    values_at = np.cumsum([len(line) + 1 for line in first]) - 2
    digits, values = _parse(body.reshape(-1, block), starts, values_at)
    if values is None:
        return None
    return pl.DataFrame({"sop_uid": _texts(digits), **{name: values[:, names.index(name)] for name in labels}})


def _subtype(line: bytes) -> str:
    """Returns the subtype of a row, "" if the row is of another form."""
    found = re.fullmatch(rb"ID_[0-9a-f]{9}_([^,]+),[01]", line)
    return "" if found is None else found[1].decode("utf-8", "replace")


def _parse(
    blocks: Bytes, starts: npt.NDArray[np.int64], values_at: npt.NDArray[np.int64]
) -> tuple[Bytes, npt.NDArray[np.int8] | None]:
    """Returns the digits and labels of every slice, None for labels if a block is not as the first."""
    digits_at = starts[:, None] + np.arange(_DIGITS)
    fixed = np.full(blocks.shape[1], 0xFF, dtype=np.uint8)
    fixed[values_at] = fixed[digits_at] = 0
    # As many rows as are compared at once: NumPy is slow where it has to repeat a short row.
    masks, expected = (np.tile(row, (_SLICES_AT_ONCE, 1)) for row in (fixed, blocks[0] & fixed))
    digits = np.empty((len(blocks), _DIGITS), dtype=np.uint8)
    values = np.empty((len(blocks), len(values_at)), dtype=np.int8)
    for begin in range(0, len(blocks), _SLICES_AT_ONCE):
        some = blocks[begin : begin + _SLICES_AT_ONCE]
        count = len(some)
        own = some.take(digits_at, axis=1)
        stored = some.take(values_at, axis=1) - ord("0")
        same = np.array_equal(some & masks[:count], expected[:count]) and bool((own == own[:, :1]).all())
        if not same or stored.max() > 1 or not _HEXADECIMAL[own[:, 0]].all():
            return digits, None
        digits[begin : begin + count] = own[:, 0]
        values[begin : begin + count] = stored
    return digits, values


def _texts(digits: Bytes) -> pl.Series:
    """Returns the IDs as text."""
    lines = np.empty((len(digits), len(_PREFIX) + _DIGITS + 1), dtype=np.uint8)
    lines[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, dtype=np.uint8)
    lines[:, len(_PREFIX) : -1] = digits
    lines[:, -1] = ord("\n")
    # A CSV of one column: polars makes texts of bytes nowhere else as quickly.
    return pl.read_csv(lines.tobytes(), has_header=False, schema={"sop_uid": pl.String}, quote_char=None)["sop_uid"]
