from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slicewise.data.rsna import MISSING_PROBABILITY, read_rsna, write_submission
from slicewise.errors import LabelTableError
from slicewise.task import Task, load_task
from slicewise.volume import SliceReference

SLICES = ("ID_000012eaf", "ID_000039fa0", "ID_6431af929")
# The challenge's own order, which is not the order of the task.
SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
LABELS = {"ID_000012eaf": "000000", "ID_000039fa0": "010011", "ID_6431af929": "100001"}


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ich")


def rows() -> list[str]:
    return [f"{sop}_{name},{value}" for sop in SLICES for name, value in zip(SUBTYPES, LABELS[sop], strict=True)]


def write(path: Path, lines: list[str], header: str = "ID,Label") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def labels_of(path: Path, task: Task) -> dict[str, list[int]]:
    table = read_rsna(path, task)
    found = table.values_of(table.rows_of("", [SliceReference(sop, 1, "", 0) for sop in SLICES]))
    return {sop: found[index].tolist() for index, sop in enumerate(SLICES)}


def test_labels_come_in_the_order_of_the_task(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "stage_2_train.csv", rows())
    assert labels_of(path, task) == {
        "ID_000012eaf": [0, 0, 0, 0, 0, 0],
        "ID_000039fa0": [1, 0, 1, 0, 0, 1],
        "ID_6431af929": [1, 1, 0, 0, 0, 0],
    }
    assert read_rsna(path, task).warnings == ()


def test_repeated_rows_are_merged_and_reported(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", [*rows(), *rows()[:6]])
    table = read_rsna(path, task)
    assert len(table.values) == 3
    assert [warning.message for warning in table.warnings] == ["6 rows stand more than once and were merged"]


def test_repeated_rows_that_disagree_are_unknown(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", [*rows(), "ID_000039fa0_subdural,0"])
    assert labels_of(path, task)["ID_000039fa0"] == [1, 0, 1, 0, 0, -1]
    warnings = read_rsna(path, task).warnings
    assert [warning.code for warning in warnings] == ["duplicate_labels", "conflicting_labels"]
    assert "ID_000039fa0" in warnings[1].message


def test_a_slice_without_a_row_for_a_subtype_has_it_unknown(tmp_path: Path, task: Task) -> None:
    lines = [line for line in rows() if not line.startswith("ID_000039fa0_epidural")]
    assert labels_of(write(tmp_path / "l.csv", lines), task)["ID_000039fa0"] == [1, -1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["a,0,x"], "ID,Label,Extra", r"the columns are ID, Label, Extra; expected ID, Label"),
        (["a,0"], "id,label", r"the columns are id, label; expected ID, Label"),
        ([*rows(), "ID_000012eaf_chronic,0"], "ID,Label", r"row 20, column ID: 'ID_000012eaf_chronic'.*subdural"),
        (["1.2.3_any,0", *rows()], "ID,Label", r"row 2, column ID: '1.2.3_any'; expected ID_<9 hex"),
        ([*rows()[:2], ",0"], "ID,Label", r"row 4, column ID: an empty cell"),
        ([*rows()[:4], "ID_000012eaf_any,0.5"], "ID,Label", r"row 6, column Label: '0.5'; expected 0 or 1"),
        ([*rows()[:4], "ID_000012eaf_any,"], "ID,Label", r"row 6, column Label: an empty cell"),
        (rows()[1:6], "ID,Label", r"no row for epidural"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, task: Task, lines: list[str], header: str, message: str) -> None:
    with pytest.raises(LabelTableError, match=message):
        read_rsna(write(tmp_path / "l.csv", lines, header), task)


def read_submission(path: Path) -> tuple[list[str], list[float]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header == "ID,Label"
    return [line.split(",")[0] for line in lines], [float(line.split(",")[1]) for line in lines]


def test_a_submission_round_trips(tmp_path: Path, task: Task) -> None:
    probabilities = np.random.default_rng(0).random((3, 6)).astype(np.float32)
    probabilities[0, :3] = [0.0, 1.0, 1e-9]
    summary = write_submission(tmp_path / "s.csv", SLICES, probabilities, task)
    ids, values = read_submission(tmp_path / "s.csv")
    assert ids == [f"{sop}_{name}" for sop in SLICES for name in task.label_names]
    assert np.array_equal(np.array(values, dtype=np.float32).reshape(3, 6), probabilities)
    assert (summary.rows, summary.filled, summary.unused) == (18, 0, 0)


def test_a_submission_follows_its_sample(tmp_path: Path, task: Task) -> None:
    wanted = [f"{sop}_{name}" for sop in ("ID_6431af929", "ID_aaaaaaaaa") for name in SUBTYPES]
    sample = write(tmp_path / "sample.csv", [f"{item},0.5" for item in wanted])
    probabilities = np.linspace(0.1, 0.9, 12, dtype=np.float32).reshape(2, 6)
    summary = write_submission(tmp_path / "s.csv", ["ID_000012eaf", "ID_6431af929"], probabilities, task, sample=sample)
    ids, values = read_submission(tmp_path / "s.csv")
    assert ids == wanted
    by_name = dict(zip(task.label_names, probabilities[1], strict=True))
    assert values[:6] == pytest.approx([by_name[name] for name in SUBTYPES])
    assert values[6:] == [MISSING_PROBABILITY] * 6
    assert (summary.rows, summary.filled, summary.unused) == (12, 6, 6)


def test_a_submission_refuses_what_is_no_probability_or_stands_twice(tmp_path: Path, task: Task) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        write_submission(tmp_path / "s.csv", SLICES[:1], np.full((1, 6), np.nan, np.float32), task)
    with pytest.raises(LabelTableError, match=r"ID_000012eaf_any would stand twice"):
        write_submission(tmp_path / "s.csv", [SLICES[0]] * 2, np.zeros((2, 6), np.float32), task)
    assert not (tmp_path / "s.csv").exists()


def test_a_sample_in_another_form_is_refused(tmp_path: Path, task: Task) -> None:
    sample = write(tmp_path / "sample.csv", ["ID_000012eaf_chronic,0.5"])
    with pytest.raises(LabelTableError, match=r"sample\.csv: row 2, column ID"):
        write_submission(tmp_path / "s.csv", SLICES[:1], np.zeros((1, 6), np.float32), task, sample=sample)
