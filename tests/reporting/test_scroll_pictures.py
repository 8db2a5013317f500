from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slicewise.imaging.windows import apply_channels
from slicewise.reporting.scroll_pictures import LEVELS, grey_levels, scroll_picture, window_tables
from slicewise.task import WindowChannel, load_task

ICH = load_task("ich")


@pytest.mark.parametrize(("name", "largest"), [("ich", (2, 4, 4)), ("mri_tumor", (4, 3, 3))], ids=["ich", "mri_tumor"])
def test_every_window_comes_back_from_the_one_picture(name: str, largest: tuple[float, ...]) -> None:
    """Before compression, a window is off by a few of 255 grey levels at most, over the whole range of values."""
    channels = load_task(name).channels
    values = np.arange(-1500, 4000, dtype=np.float32)[None, :]
    levels = grey_levels(values, channels)
    for shown, table, bound in zip(apply_channels(values, channels), window_tables(channels), largest, strict=True):
        assert np.abs(np.array(table)[levels] - 255 * shown).max() <= bound


@given(
    st.lists(st.builds(WindowChannel, st.just("w"), st.floats(-1000, 1000), st.floats(1, 4000)), min_size=1, max_size=4)
)
def test_tables_rise_from_black_to_white(channels: list[WindowChannel]) -> None:
    for table in window_tables(channels):
        assert len(table) == LEVELS
        assert (table[0], table[-1]) == (0, 255)
        assert list(table) == sorted(table)


def test_windows_that_do_not_meet_are_told_apart() -> None:
    channels = (WindowChannel("low", 0.0, 20.0), WindowChannel("high", 1000.0, 20.0))
    levels = grey_levels(np.array([[-20.0, 0.0, 500.0, 1000.0, 1020.0]], dtype=np.float32), channels)[0]
    low, high = (np.array(table)[levels] for table in window_tables(channels))
    assert low.tolist() == pytest.approx([0, 127, 255, 255, 255], abs=2)
    assert high.tolist() == pytest.approx([0, 0, 0, 127, 255], abs=2)


def test_a_picture_is_reduced_without_overshoot_and_read_back() -> None:
    """Brain of 30 HU beside bone of 1500 HU: 8 pixels away from the edge, brain is what it was."""
    values = np.full((512, 512), 30.0, dtype=np.float32)
    values[:, 256:] = 1500.0
    picture = scroll_picture(values, ICH.channels, width=320, height=240)
    image = Image.open(io.BytesIO(base64.b64decode(picture.jpeg, validate=True)))
    assert (image.format, image.mode, image.size) == ("JPEG", "L", (320, 240))
    assert (picture.width, picture.height) == (320, 240)
    brain = np.array(window_tables(ICH.channels)[0])[np.asarray(image)]
    assert brain[:, :152] == pytest.approx(255 * 30 / 80, abs=4)
    assert brain[:, 168:] == pytest.approx(255, abs=0)
