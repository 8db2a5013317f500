from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.imaging.channels import channel_batches, channel_count, channels_of_rows
from slicewise.imaging.preprocess import ModelInput
from slicewise.imaging.windows import apply_channels
from slicewise.task import load_task

TASK = load_task("ich")


def make_input(ranks: list[int]) -> ModelInput:
    rows = len(ranks)
    return ModelInput(
        values=np.random.default_rng(0).integers(-200, 200, (rows, 8, 8)).astype(np.int16),
        positions_mm=np.cumsum(np.array(ranks) == 0).astype(np.float64),
        duplicate_rank=np.array(ranks, dtype=np.int64),
        slab_of_slice=np.arange(rows),
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
    )


def reference(model_input: ModelInput, neighbours: int) -> npt.NDArray[np.float32]:
    """Channels slice by slice: all windows of the farthest neighbour below first, those of the one above last."""
    firsts = np.flatnonzero(model_input.duplicate_rank == 0).tolist()
    stacks = []
    for row in range(len(model_input.values)):
        place = max(index for index, first in enumerate(firsts) if first <= row)
        images = []
        for offset in range(-neighbours, neighbours + 1):
            shown = row if offset == 0 else firsts[min(max(place + offset, 0), len(firsts) - 1)]
            for window in TASK.channels:
                low = window.center - window.width / 2
                images.append(np.clip((model_input.values[shown] - low) / window.width, 0, 1))
        stacks.append(np.stack(images))
    return np.stack(stacks).astype(np.float32)


@pytest.mark.parametrize(("rows", "sizes"), [(7, [3, 3, 1]), (6, [3, 3]), (1, [1])])
def test_batches_hold_every_slice_once_in_order(rows: int, sizes: list[int]) -> None:
    model_input = make_input([0] * rows)
    batches = list(channel_batches(model_input, TASK, batch=3))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), apply_channels(model_input.values, TASK.channels))
    assert batches[0].shape[1] == channel_count(TASK) == 3


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 3))
def test_neighbours_are_further_channels_wherever_a_batch_ends(rows_at: list[int], batch: int, neighbours: int) -> None:
    model_input = make_input([rank for count in rows_at for rank in range(count)])
    batches = list(channel_batches(model_input, TASK, batch, neighbours))
    assert all(len(item) == batch for item in batches[:-1])
    found, expected = np.concatenate(batches), reference(model_input, neighbours)
    assert found.dtype == np.float32
    assert found.shape[1] == channel_count(TASK, neighbours)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_channels_count_a_slice_and_its_neighbours_on_either_side() -> None:
    assert [channel_count(TASK, neighbours) for neighbours in range(3)] == [3, 9, 15]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(0, 3), st.data())
def test_chosen_rows_have_the_channels_that_batches_give_them(
    rows_at: list[int], neighbours: int, data: st.DataObject
) -> None:
    model_input = make_input([rank for count in rows_at for rank in range(count)])
    chosen = data.draw(st.lists(st.integers(0, len(model_input.values) - 1), min_size=1, max_size=5))
    found = channels_of_rows(model_input, TASK, np.array(chosen), neighbours)
    np.testing.assert_allclose(found, reference(model_input, neighbours)[chosen], atol=1e-6)
