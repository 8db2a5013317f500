"""The training curves of a stage as a picture: `curves.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slicewise.files import write_atomically
from slicewise.training.metrics_log import EPOCHS_FILE, STEPS_FILE, read_log, writing_to

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

CURVES_FILE = "curves.png"
VALIDATION = "validation_"

_PANEL_INCHES = (5.0, 3.6)
_DOTS_PER_INCH = 120
_SMOOTHING_SHARE = 1 / 20
_RAW, _SMOOTH, _MEAN = "#aec7e8", "#1f4e9c", "#d95f02"

_Log = dict[str, list[float]]
_Panel = Callable[["Axes"], None]


def draw_curves(folder: Path, title: str) -> None:
    """Draws `curves.png` from `steps.csv` and `log.csv`: loss, learning rate, and what validation measured.

    A panel without values is left out; without any there is no picture.

    Args:
        folder: Folder of a stage.
        title: What stands above the panels.

    Raises:
        TrainingError: If the picture cannot be written.
    """
    with writing_to(folder):
        panels = _panels(read_log(folder / STEPS_FILE), read_log(folder / EPOCHS_FILE))
        if panels:
            with write_atomically(folder / CURVES_FILE) as temporary:
                _draw(panels, title, temporary)


def _draw(panels: Sequence[_Panel], title: str, path: Path) -> None:
    # A figure of its own, without pyplot, which keeps figures and a backend for the whole process.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=_DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title, parse_math=False)
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel(axes)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def _panels(steps: _Log, epochs: _Log) -> list[_Panel]:
    panels: list[_Panel] = []
    if _has(steps, "loss") or _has(epochs, "loss"):
        panels.append(lambda axes: _draw_loss(axes, steps, epochs))
    rates = steps if _has(steps, "learning_rate") else epochs
    if _has(rates, "learning_rate"):
        panels.append(lambda axes: _draw_learning_rate(axes, rates))
    measures = [name for name in epochs if name.startswith(VALIDATION) and _has(epochs, name)]
    if measures:
        panels.append(lambda axes: _draw_validation(axes, epochs, measures))
    return panels


def _draw_loss(axes: Axes, steps: _Log, epochs: _Log) -> None:
    if _has(steps, "loss"):
        at, losses = _points(steps, "step", "loss")
        axes.plot(at, losses, color=_RAW, linewidth=0.8, label="step")
        axes.plot(at, _smoothed(losses), color=_SMOOTH, linewidth=1.6, label="step, smoothed")
    if _has(epochs, "loss"):
        at, losses = _points(epochs, "step", "loss")
        axes.plot(at, losses, color=_MEAN, linestyle="none", marker="o", markersize=4, label="mean of the epoch")
    axes.set(title="Training loss", xlabel="step", ylabel="loss")
    axes.legend(fontsize="small", framealpha=0.8)


def _draw_learning_rate(axes: Axes, log: _Log) -> None:
    at, rates = _points(log, "step", "learning_rate")
    axes.plot(at, rates, color=_SMOOTH, marker="o" if len(at) == 1 else "", markersize=4)
    axes.set(title="Learning rate", xlabel="step", ylabel="learning rate")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)


def _draw_validation(axes: Axes, epochs: _Log, measures: Sequence[str]) -> None:
    for name in measures:
        at, values = _points(epochs, "epoch", name)
        label = name.removeprefix(VALIDATION).replace("_", " ")
        axes.plot(at, values, marker="o", markersize=3, label=label)
    axes.set(title="Validation", xlabel="epoch", ylabel="value")
    # Beside the panel: with a measure for every label it would cover curves.
    _set_plain(axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)))


def _set_plain(legend: Legend) -> None:
    # A label of the task may hold what reads as a formula.
    for text in legend.get_texts():
        text.set_parse_math(False)


def _has(log: _Log, name: str) -> bool:
    return bool(np.isfinite(log.get(name, [])).any())


def _points(log: _Log, horizontal: str, vertical: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places, values = np.array(log[horizontal]), np.array(log[vertical])
    finite = np.isfinite(values)
    return places[finite], values[finite]


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # The mean over a window around every point, by running sums: a long run has some 100,000 points.
    reach = int(len(values) * _SMOOTHING_SHARE / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means
