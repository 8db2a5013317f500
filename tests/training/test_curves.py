from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slicewise.errors import TrainingError
from slicewise.training.curves import draw_curves
from slicewise.training.metrics_log import MetricsLog

NAN = float("nan")
PANEL_PIXELS = 600


def write_log(folder: Path, *, epoch: Mapping[str, float], losses: int = 40) -> None:
    with MetricsLog(folder, step=0) as log:
        for step in range(1, losses + 1):
            log.write_step(step, {"loss": 1 / step, "learning_rate": 1e-3 * step})
        log.write_epoch(1, 40, epoch)
        log.write_epoch(2, 80, epoch)


def drawn(folder: Path, title: str = "Stage 1") -> Image.Image:
    draw_curves(folder, title)
    with Image.open(folder / "curves.png") as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    """Colours, apart from greys, of at least 10 pixels of a picture."""
    values, counts = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, value)) for value in values[counts >= 10] if np.ptp(value) > 40}


def test_three_panels(tmp_path: Path) -> None:
    write_log(tmp_path, epoch={"loss": 0.5, "validation_auroc_any": 0.8, "validation_weighted_log_loss": 0.3})
    image = drawn(tmp_path)
    assert image.width == 3 * PANEL_PIXELS
    assert not list(tmp_path.glob(".*"))


def test_raw_loss_smoothed_loss_and_means_of_epochs_differ_in_colour(tmp_path: Path) -> None:
    write_log(tmp_path / "steps", epoch={"loss": NAN})
    write_log(tmp_path / "epochs", epoch={"loss": 0.5}, losses=0)
    steps, epochs = colours(drawn(tmp_path / "steps")), colours(drawn(tmp_path / "epochs"))
    assert steps >= {(174, 199, 232), (31, 78, 156)}
    assert (217, 95, 2) in epochs - steps


def test_every_measure_of_validation_is_drawn(tmp_path: Path) -> None:
    measures = {f"validation_{name}": 0.1 * number for number, name in enumerate("abcdef")}
    write_log(tmp_path / "six", epoch=measures, losses=0)
    write_log(tmp_path / "two", epoch={**dict(list(measures.items())[:2]), "validation_undefined": NAN}, losses=0)
    assert drawn(tmp_path / "six").width == drawn(tmp_path / "two").width == PANEL_PIXELS
    assert len(colours(drawn(tmp_path / "six"))) >= len(colours(drawn(tmp_path / "two"))) + 4


def test_panels_without_values_are_left_out(tmp_path: Path) -> None:
    write_log(tmp_path / "without", epoch={"loss": 0.5, "validation_auroc": NAN})
    assert drawn(tmp_path / "without").width == 2 * PANEL_PIXELS
    write_log(tmp_path / "epochs", epoch={"loss": 0.5, "learning_rate": 1e-3}, losses=0)
    assert drawn(tmp_path / "epochs").width == 2 * PANEL_PIXELS


def test_nothing_to_draw_makes_no_file(tmp_path: Path) -> None:
    draw_curves(tmp_path, "Stage 1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "steps.csv").write_text("step,loss,learning_rate\n5,,\n")
    (tmp_path / "log.csv").write_text("epoch,step,loss\n")
    draw_curves(tmp_path, "Stage 1")
    assert not (tmp_path / "curves.png").exists()


def test_one_row_is_enough_and_names_are_no_formulas(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write_step(1, {"loss": 0.5, "learning_rate": 1e-3})
        log.write_epoch(1, 1, {"loss": 0.5, r"validation_auroc_$\frac$": 0.5})
    assert drawn(tmp_path, r"cost $\frac$ 5").width == 3 * PANEL_PIXELS


def test_a_later_picture_replaces_the_earlier_one(tmp_path: Path) -> None:
    write_log(tmp_path, epoch={"loss": 0.5})
    first = drawn(tmp_path)
    write_log(tmp_path, epoch={"loss": 0.9})
    assert drawn(tmp_path).tobytes() != first.tobytes()


def test_no_state_of_the_process_is_touched(tmp_path: Path) -> None:
    write_log(tmp_path, epoch={"loss": 0.5})
    before = "matplotlib.pyplot" in sys.modules
    draw_curves(tmp_path, "Stage 1")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_a_picture_that_cannot_be_written_is_an_error_with_advice(tmp_path: Path) -> None:
    write_log(tmp_path, epoch={"loss": 0.5})
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(TrainingError, match=r"cannot be written.* --resume"):
        draw_curves(tmp_path, "Stage 1")
