from __future__ import annotations

from dataclasses import replace

from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.summary import summarise
from slicewise.task import Task


def test_the_label_that_sums_up_stands_first(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, resamples=50)
    lines = summarise(task, {"mine": found}, {}).splitlines()
    assert lines[0] == "15 patients, 16 studies, 180 slices"
    assert lines[2].split("  ")[0] == "Any lesion"
    value, low, high = (getattr(found.slice["lesion"]["auroc"], name) for name in ("value", "low", "high"))
    assert lines[3].startswith("mine ")
    assert f"{value:.4f} [{low:.4f}, {high:.4f}]" in lines[3]
    positive = int((table.targets[:, 0] == 1).sum())
    assert lines[6].split()[:2] == ["Edema", str(positive)]


def test_a_difference_has_a_sign_and_a_row(table: PredictionTable, task: Task) -> None:
    other = replace(table, probabilities=table.probabilities * 0.5)
    metrics = {"a": evaluate(table, task, resamples=20), "b": evaluate(other, task, resamples=20)}
    lines = summarise(task, metrics, {"b": compare(table, other, task, resamples=20)}).splitlines()
    assert [line.split("  ")[0] for line in lines[3:6]] == ["a", "b", "a - b"]
    assert "+0.0000 [+0.0000, +0.0000]" in lines[5]


def test_what_is_not_defined_and_what_to_know_is_said(table: PredictionTable, task: Task) -> None:
    targets = table.targets.copy()
    targets[:, 0] = 0
    odd = replace(table, targets=targets, warnings=("something is odd",))
    text = summarise(task, {"mine": evaluate(odd, task, resamples=0)}, {})
    edema = next(line for line in text.splitlines() if line.startswith("Edema"))
    assert edema.split() == ["Edema", "0", "n/a", "n/a", "n/a"]
    assert "[n/a]" in text
    assert "warning: something is odd" in text
