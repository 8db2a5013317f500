"""Arrays of a prepared dataset, memory-mapped and checked."""

from __future__ import annotations

import tokenize
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
