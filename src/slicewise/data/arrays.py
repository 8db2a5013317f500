"""Arrays of a prepared dataset, checked: mapped into memory as a whole, or a few rows of them read."""

from __future__ import annotations

import functools
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.errors import DatasetError


def open_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Opens a NumPy file, memory-mapped for reading.

    Args:
        path: The file.
        dtype: What it must hold.
        shape: In which shape.

    Raises:
        DatasetError: If the file is missing, truncated or holds something else.
    """
    try:
        values: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    # NumPy parses the header as Python.
    except (OSError, ValueError, TypeError, OverflowError, tokenize.TokenError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}. Prepare the dataset again") from error
    if values.shape != shape or values.dtype != dtype:
        raise DatasetError(
            f"{path}: holds {values.dtype} of shape {values.shape}; expected {np.dtype(dtype)} of shape {shape}. "
            "Prepare the dataset again"
        )
    return values


def read_rows(path: Path, rows: Sequence[int], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Reads a few rows of a NumPy file into memory: quicker than to map the file anew for every row.

    Args:
        path: The file; it is checked the first time.
        rows: Rows to read.
        dtype: What it must hold.
        shape: In which shape.

    Returns:
        Shape (len(rows), *shape[1:]).

    Raises:
        DatasetError: If the file is missing, truncated or holds something else.
    """
    offset = _offset(path, np.dtype(dtype), shape)
    result = np.empty((len(rows), *shape[1:]), dtype)
    try:
        with path.open("rb", buffering=0) as stream:
            for row, values in zip(rows, result, strict=True):
                stream.seek(offset + row * values.nbytes)
                if stream.readinto(values.data) < values.nbytes:
                    raise DatasetError(f"{path}: was cut off while it was in use. Prepare the dataset again")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}. Prepare the dataset again") from error
    return result


@functools.cache  # a number a file
def _offset(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> int:
    values = open_array(path, dtype, shape)
    if not values.flags.c_contiguous:
        raise DatasetError(f"{path}: its values are not in C order. Prepare the dataset again")
    assert isinstance(values, np.memmap)
    return int(values.offset)
