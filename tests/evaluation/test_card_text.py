from __future__ import annotations

import msgspec
import pytest

from carded import DIGEST, make_card
from slicewise.evaluation.card_text import card_text
from slicewise.evaluation.model_card import Card
from slicewise.package import Calibration
from slicewise.task import Task, load_task


@pytest.fixture
def task() -> Task:
    return load_task("ich")


def text_of(card: Card, task: Task) -> str:
    return card_text(card, task, Calibration((1.5,) * 6, (-0.25,) * 6))


def cells(text: str, start: str) -> list[list[str]]:
    """The cells of every line that starts so, cut where two or more blanks are."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_figures_stand_with_their_intervals_on_slices_and_on_studies(task: Task) -> None:
    text = text_of(make_card(task), task)
    assert "31 patients, 37 studies, 1201 slices" in text
    assert "weighted log loss  0.135 [0.125, 0.145]" in text
    display = task.labels[1].display
    on_slices, on_studies, slice_point, study_point, calibration = cells(text, f"{display} ")
    assert on_slices[1:4] == ["210", "991", "0.910 [0.900, 0.920]"]
    assert on_studies[3] == "0.810 [0.800, 0.820]"
    assert slice_point == study_point
    assert slice_point[1:] == ["0.314", "0.880 [0.870, 0.890]", "n/a", "1.040", "-0.060", "0.020"]
    assert calibration[1:] == ["1.500", "-0.250"]


def test_effects_stand_by_their_groups(task: Task) -> None:
    text = text_of(make_card(task), task)
    assert "20 phantom studies" in text
    assert cells(text, "plain ")[0][1:] == ["0.982 [0.972, 0.992]", "0.950 [0.940, 0.960]", "0.930 [0.920, 0.940]"]
    assert cells(text, "atrophy ")[0][2] == "-0.011 [-0.021, -0.001]"
    assert text.index("plain ") < text.index("atrophy ") < text.index("sharp kernel ")


def test_where_the_maps_point_and_how_the_model_was_made(task: Task) -> None:
    text = text_of(make_card(task), task)
    assert [task.labels[-1].display, "87", "0.750 [0.740, 0.760]", "0.885 [0.875, 0.895]"] in cells(
        text, task.labels[-1].display
    )
    assert "Made by `make model` in 2 h 6 min on 2 cores of a CPU:" in text
    assert "42 s  data: slicewise phantom model/dataset --studies 5" in text
    assert DIGEST in text


def test_what_was_not_measured_is_left_out(task: Task) -> None:
    card = msgspec.structs.replace(make_card(task), robustness=None, localisation=(), making=None)
    text = text_of(card, task)
    assert not any(word in text for word in ("Robustness", "maps", "Made by"))
