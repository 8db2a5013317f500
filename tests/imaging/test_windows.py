from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from slicewise.imaging.windows import apply_channels
from slicewise.task import WindowChannel, load_task

channels = st.lists(
    st.builds(WindowChannel, name=st.just("w"), center=st.floats(-500, 500), width=st.floats(1, 3000)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(
    values=arrays(np.int16, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.integers(-1024, 3071)),
    windows=channels,
)
def test_channels_follow_the_definition(values: np.ndarray, windows: list[WindowChannel]) -> None:
    shown = apply_channels(values, windows)
    assert shown.dtype == np.float32
    assert shown.shape == (*values.shape[:-2], len(windows), *values.shape[-2:])
    for index, window in enumerate(windows):
        low, high = window.center - window.width / 2, window.center + window.width / 2
        expected = np.interp(values.astype(np.float64), [low, high], [0.0, 1.0])
        np.testing.assert_allclose(shown[..., index, :, :], expected, atol=1e-3 if window.width < 10 else 1e-5)


def test_the_windows_are_absolute() -> None:
    ramp = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
    channels = load_task("ich").channels
    whole = apply_channels(ramp, channels)
    part = apply_channels(ramp[:32] // 2, channels)
    assert np.all(np.diff(whole.reshape(3, -1), axis=1) >= 0)
    np.testing.assert_array_equal(part[:, ramp[:32] == 0], whole[:, ramp == 0])
    assert whole.min() == 0.0
    assert whole.max() == 1.0


def test_the_input_is_not_changed() -> None:
    values = np.array([[10.0, 500.0]], dtype=np.float32)
    apply_channels(values, [WindowChannel(name="brain", center=40.0, width=80.0)])
    assert values.tolist() == [[10.0, 500.0]]
