from __future__ import annotations

import numpy as np
import pytest

from slicewise.imaging.channels import channel_batches, channel_count
from slicewise.imaging.preprocess import ModelInput
from slicewise.imaging.windows import apply_channels
from slicewise.task import load_task


@pytest.mark.parametrize(("rows", "sizes"), [(7, [3, 3, 1]), (6, [3, 3]), (1, [1])])
def test_batches_hold_every_slice_once_in_order(rows: int, sizes: list[int]) -> None:
    task = load_task("ich")
    values = np.random.default_rng(0).integers(-1000, 1000, (rows, 8, 8)).astype(np.int16)
    model_input = ModelInput(
        values=values,
        positions_mm=np.arange(rows, dtype=np.float64),
        duplicate_rank=np.zeros(rows, dtype=np.int64),
        slab_of_slice=np.arange(rows),
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
    )
    batches = list(channel_batches(model_input, task, batch=3))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), apply_channels(values, task.channels))
    assert batches[0].shape[1] == channel_count(task) == 3
