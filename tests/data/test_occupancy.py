from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slicewise.data.occupancy import MASKS, digest_of_masks, open_masks
from slicewise.errors import DatasetError

MASK = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 4), dtype=np.uint8)


def test_masks_are_read_as_written(tmp_path: Path) -> None:
    np.save(tmp_path / MASKS, MASK)
    assert np.array_equal(open_masks(tmp_path, rows=3, labels=6, size=32), MASK)


def test_the_digest_tells_masks_apart() -> None:
    assert digest_of_masks(MASK) == digest_of_masks(MASK.copy(order="F"))
    assert digest_of_masks(MASK) != digest_of_masks(MASK[::-1])


@pytest.mark.parametrize("damage", ["missing", "truncated", "shape", "dtype", "pickled"])
def test_damaged_masks_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / MASKS
    if damage == "shape":
        np.save(path, MASK[:2])
    elif damage == "dtype":
        np.save(path, MASK.astype(np.int16))
    elif damage == "pickled":
        np.save(path, np.array([None]), allow_pickle=True)
    elif damage == "truncated":
        np.save(path, MASK)
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"masks\.npy.*Prepare the dataset again"):
        open_masks(tmp_path, rows=3, labels=6, size=32)
