from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from dicom_files import write_series
from slicewise.results import ModelSummary, Rejection, Results, SeriesResult, SliceResult, StudyResult, aggregate
from slicewise.source import Source
from slicewise.task import Task, load_task
from slicewise.volume import ScanWarning

MakeStudy = Callable[..., StudyResult]
MakeResults = Callable[..., Results]


@pytest.fixture(scope="session")
def task() -> Task:
    return load_task("ich")


@pytest.fixture(scope="session")
def model(task: Task) -> ModelSummary:
    """A model whose thresholds differ: 0.50, 0.45, 0.40, ... in the order of the labels."""
    return ModelSummary(
        name="test-model",
        version="1.2",
        digest="0a" * 32,
        labels=task.label_names,
        displays=tuple(label.display for label in task.labels),
        any_label=None if task.any_rule is None else task.any_rule.label,
        thresholds={name: 0.5 - 0.05 * number for number, name in enumerate(task.label_names)},
        threshold_rule="fixed by hand for this test",
        study_rule="max",
        trained_on="nothing at all",
        intended_use="tests",
    )


@pytest.fixture(scope="session")
def study_model(model: ModelSummary) -> ModelSummary:
    """The same model; the thresholds of studies lie 0.3 higher."""
    thresholds = {name: round(value + 0.3, 2) for name, value in model.thresholds.items()}
    return msgspec.structs.replace(model, study_thresholds=thresholds, study_threshold_rule="raised for this test")


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, list[str]]:
    """A series of six slices on disk: its folder and its files from feet to head."""
    folder = tmp_path / "scan"
    return folder, [path.name for path in write_series(folder, slices=6)]


@pytest.fixture
def make_study(task: Task) -> MakeStudy:
    """Makes a study of one series, 5 mm apart; `raised` gives probabilities above 0.1 by slice index and label."""

    def make(
        source: Path | str,
        files: Sequence[str],
        raised: Mapping[int, Mapping[str, float]] | None = None,
        *,
        patient_id: str = "P1",
        study_uid: str = "1.2.3",
        series_uid: str = "1.2.3.4",
        warnings: tuple[ScanWarning, ...] = (),
        unlike: bool = False,
    ) -> StudyResult:
        slices = tuple(
            SliceResult(
                sop_uid=f"{series_uid}.{index}",
                frame=1,
                file=file,
                slice_index=index,
                position_mm=-10.0 + 5.0 * index,
                probabilities=dict.fromkeys(task.label_names, 0.1) | dict((raised or {}).get(index, {})),
            )
            for index, file in enumerate(files)
        )
        probabilities = aggregate([item.probabilities for item in slices], "max")
        series = SeriesResult(
            patient_id, study_uid, series_uid, slices, probabilities, 12.5, warnings, unlike_training=unlike
        )
        sources = {item.sop_uid: Source(str(Path(source) / item.file), item.file) for item in slices}
        return StudyResult(patient_id, study_uid, (series,), probabilities, warnings, sources)

    return make


@pytest.fixture
def make_results(model: ModelSummary) -> MakeResults:
    def make(*studies: StudyResult, rejected: Sequence[Rejection] = (), **changed: object) -> Results:
        return Results(msgspec.structs.replace(model, **changed), studies, tuple(rejected), "9.8.7")

    return make
