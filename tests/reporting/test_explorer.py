from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from evaluated import SLICES, measured, simulated_table
from slicewise.evaluation.operating_points import choose_threshold
from slicewise.reporting.explorer import explorer_data
from slicewise.task import Task


def test_the_explorer_starts_at_the_threshold_of_the_model_with_its_counts(task: Task) -> None:
    table = simulated_table(task)
    data = explorer_data(table, task, measured(table, task))
    assert data is not None
    assert [label["display"] for label in data["labels"]] == [label.display for label in task.labels]
    assert data["rowsAStudy"] == {"slice": SLICES, "study": 1.0}
    for level, rows in (("slice", table.slices()), ("study", table.studies(task))):
        found = data["labels"][0]["levels"][level]
        values, targets = rows.probabilities[:, 0], rows.targets[:, 0]
        start = found["start"]
        assert found["thresholds"][start] == 0.3
        assert found["names"][str(start)] == "Threshold of the model"
        assert found["truePositives"][start] == ((values >= 0.3) & (targets == 1)).sum()
        assert found["falsePositives"][start] == ((values >= 0.3) & (targets == 0)).sum()
        assert (found["positives"], found["negatives"]) == ((targets == 1).sum(), (targets == 0).sum())
    assert json.loads(json.dumps(data)) == data


def test_without_operating_points_it_starts_at_youdens_index(task: Task) -> None:
    table = simulated_table(task, noise=2.0)
    bare = msgspec.structs.replace(measured(table, task), operating_points={})
    data = explorer_data(table, task, bare)
    assert data is not None
    found = data["labels"][0]["levels"]["slice"]
    best = choose_threshold(table.probabilities[:, 0], table.targets[:, 0], "youden")
    flagged = (table.probabilities[:, 0] >= best) & (table.targets[:, 0] == 1)
    assert found["truePositives"][found["start"]] == pytest.approx(flagged.sum(), abs=2)
    assert found["names"] == {}


def test_labels_of_one_class_are_left_out(task: Task) -> None:
    table = simulated_table(task)
    targets = table.targets.copy()
    targets[:, 1] = np.minimum(targets[:, 1], 0)
    table = replace(table, targets=targets)
    data = explorer_data(table, task, measured(table, task))
    assert data is not None
    assert task.labels[1].display not in {label["display"] for label in data["labels"]}
    alone = simulated_table(task, patients=1)
    assert explorer_data(alone, task, measured(alone, task)) is None
