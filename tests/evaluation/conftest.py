from __future__ import annotations

import msgspec
import numpy as np
import pytest

from slicewise.evaluation.predictions import PredictionTable
from slicewise.task import AnyRule, Code, Label, Task, load_task

PATIENTS, SLICES = 15, 12


@pytest.fixture(scope="session")
def task() -> Task:
    """Two labels that are not those of the shipped task; the second one sums up."""
    code = Code("99TEST", "1", "test")
    labels = (Label("edema", "Edema", 1.0, code), Label("lesion", "Any lesion", 2.0, code))
    return msgspec.structs.replace(load_task("ich"), name="test", labels=labels, any_rule=AnyRule("lesion"))


@pytest.fixture
def table(task: Task) -> PredictionTable:
    """15 patients with one series of 12 slices each; the last patient has two studies of 6 slices."""
    generator = np.random.default_rng(11)
    count = PATIENTS * SLICES
    patient = np.repeat(np.arange(PATIENTS), SLICES)
    study = [f"study{number}" for number in patient[:-6]] + ["study-second"] * 6
    targets = (generator.random((count, 2)) < 0.04).astype(np.int8)
    targets[:, 1] |= targets[:, 0]
    targets[5, 0] = -1
    return PredictionTable(
        label_names=task.label_names,
        patient_ids=tuple(f"patient{number}" for number in patient),
        study_uids=tuple(study),
        series_uids=tuple(f"series-of-{name}" for name in study),
        sop_uids=tuple(f"sop{row}" for row in range(count)),
        frames=(1,) * count,
        files=tuple(f"images/{row}.dcm" for row in range(count)),
        slice_index=tuple(row % SLICES for row in range(count)),
        positions_mm=np.tile(np.arange(SLICES) * 5.0, PATIENTS),
        probabilities=np.clip(generator.random((count, 2)) * 0.7 + 0.3 * targets, 0, 1).astype(np.float32),
        targets=targets,
    )
