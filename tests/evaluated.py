"""A small evaluated table whose names are hostile, for the tests of the evaluation page."""

from __future__ import annotations

import numpy as np

from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.task import Task

PATIENTS, SLICES = 40, 10

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>\"'&"
"""Breaks out of a script, a text or an attribute that does not escape it."""


def simulated_table(task: Task, *, seed: int = 0, noise: float = 1.0, patients: int = PATIENTS) -> PredictionTable:
    """Every patient has one series of ten slices; half of the patients have the findings on some of them."""
    generator = np.random.default_rng(seed)
    labels, count = len(task.labels), patients * SLICES
    patient = np.repeat(np.arange(patients), SLICES)
    place = np.tile(np.arange(SLICES), patients)
    has = generator.random((patients, labels)) < 0.4
    main = task.main_index
    has[:, main] |= np.delete(has, main, axis=1).any(axis=1)
    has[::2] = False
    targets = (has[patient] & ((place >= 3) & (place < 7))[:, None]).astype(np.int8)
    logits = 3.0 * targets - 2.0 + noise * generator.normal(size=(count, labels))
    targets[:3, -1] = -1
    ids = [f"patient {number} {HOSTILE}" for number in range(patients)]
    return PredictionTable(
        label_names=task.label_names,
        patient_ids=tuple(ids[number] for number in patient),
        study_uids=tuple(f"1.{number}" for number in patient),
        series_uids=tuple(f"1.{number}.1 {HOSTILE}" for number in patient),
        sop_uids=tuple(f"sop{row}" for row in range(count)),
        frames=(1,) * count,
        files=tuple(f"{HOSTILE}/{row}.dcm" for row in range(count)),
        slice_index=tuple(place.tolist()),
        positions_mm=(5.0 * place).astype(np.float64),
        probabilities=(1.0 / (1.0 + np.exp(-logits))).astype(np.float32),
        targets=targets,
        warnings=(f"A warning that quotes {HOSTILE}",),
        attributes={
            "sex": tuple("FM"[number % 2] for number in patient),
            f"odd {HOSTILE}": tuple(f"group {number % 3} {HOSTILE} $x^$" for number in patient),
        },
    )


def measured(table: PredictionTable, task: Task, *, with_threshold: bool = True, seed: int = 0) -> Metrics:
    """The metrics of a table, with few resamples."""
    thresholds = dict.fromkeys(task.label_names, 0.3) if with_threshold else None
    model = {"name": f"model {HOSTILE}", "version": "7", "digest": "0a" * 32}
    return evaluate(
        table,
        task,
        thresholds=thresholds,
        model=model if with_threshold else None,
        resamples=20,
        seed=seed,
        leakage=(f"One patient is in both: {HOSTILE}",) if with_threshold else (),
    )
