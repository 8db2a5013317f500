from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest

from evaluated import HOSTILE, measured, simulated_table
from slicewise.errors import MissingExtraError
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.reporting.figures import (
    FIGURE_NAMES,
    Illustrations,
    chosen_point,
    evaluation_figures,
    write_figures,
)
from slicewise.task import Task


@pytest.fixture(scope="module")
def table(task: Task) -> PredictionTable:
    return simulated_table(task)


@pytest.fixture(scope="module")
def metrics(table: PredictionTable, task: Task) -> Metrics:
    return measured(table, task)


@pytest.fixture(scope="module")
def figures(table: PredictionTable, task: Task, metrics: Metrics) -> Illustrations:
    other = simulated_table(task, noise=2.0)
    return evaluation_figures(table, task, metrics, {"other": (other, measured(other, task))})


def test_every_figure_is_there(figures: Illustrations) -> None:
    assert set(figures) == set(FIGURE_NAMES)


def test_figures_tell_their_key_numbers_in_words(figures: Illustrations, metrics: Metrics, task: Task) -> None:
    label = task.labels[0]
    auroc = metrics.slice[label.name]["auroc"]
    text = f"{label.display}: AUROC {auroc.value:.3f} [{auroc.low:.3f}, {auroc.high:.3f}]"
    assert text in figures["roc_slice"].description
    assert text in str(figures["roc_slice"].inline)
    assert f"{label.display}: expected calibration error" in figures["reliability_study"].description
    assert "Slices, prevalence 10%: PPV 0." in figures["predictive_values"].description
    small = next(group for group in metrics.subgroups["sex"] if group.group == "F")
    assert f"Sex, F: {small.n_patients} patients" in figures["subgroups"].description


def test_marks_lie_at_the_threshold_of_the_model(figures: Illustrations, metrics: Metrics, task: Task) -> None:
    assert "Marks: threshold of the model." in figures["roc_slice"].caption
    found = chosen_point(metrics, "slice", task.label_names[0])
    assert found is not None
    assert (found[0], found[1].threshold) == ("model", 0.3)
    without = msgspec.structs.replace(metrics, operating_points={})
    assert chosen_point(without, "slice", task.label_names[0]) is None


def test_small_subgroups_are_shown_as_such(table: PredictionTable, task: Task, metrics: Metrics) -> None:
    groups = tuple(msgspec.structs.replace(group, too_small=True, metrics={}) for group in metrics.subgroups["sex"])
    found = evaluation_figures(table, task, msgspec.structs.replace(metrics, subgroups={"sex": groups}))["subgroups"]
    assert str(found.inline).count(">too small<") == 4 * len(groups)
    assert found.description.count("too small") == len(groups)


def test_nothing_measured_leaves_the_curves(table: PredictionTable, task: Task, metrics: Metrics) -> None:
    bare = msgspec.structs.replace(metrics, slice={}, study={}, operating_points={}, subgroups={}, triage=None)
    found = evaluation_figures(table, task, bare)
    assert set(found) == {f"{kind}_{level}" for kind in ("roc", "precision_recall", "reliability")
                          for level in ("slice", "study")}  # fmt: skip
    assert "Marks" not in found["roc_slice"].caption
    assert "AUROC not defined" in found["roc_slice"].description


def test_one_class_alone_leaves_the_reliability(task: Task) -> None:
    table = simulated_table(task, patients=1)
    found = evaluation_figures(table, task, measured(table, task))
    assert set(found) == {"reliability_slice", "reliability_study", "subgroups"}


def test_names_never_become_markup(figures: Illustrations) -> None:
    for figure in figures.values():
        assert "<script" not in str(figure.inline)
        assert "<img" not in str(figure.inline)
    assert HOSTILE[:15] not in str(figures["subgroups"].inline)


def test_files_of_an_earlier_call_do_not_stay(figures: Illustrations, tmp_path: Path) -> None:
    write_figures(tmp_path, figures.values())
    (tmp_path / "mine.png").write_bytes(b"kept")
    write_figures(tmp_path, [figures["roc_slice"]])
    assert {path.name for path in tmp_path.iterdir()} == {"roc_slice.png", "roc_slice.svg", "mine.png"}
    assert (tmp_path / "roc_slice.svg").read_bytes() == figures["roc_slice"].svg


def test_without_matplotlib_the_error_names_the_extra(
    table: PredictionTable, task: Task, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape("slicewise[plots]")):
        evaluation_figures(table, task, metrics)
