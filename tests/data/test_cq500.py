from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from slicewise.data.cq500 import FINDINGS, READERS, read_cq500, read_reads
from slicewise.errors import LabelTableError
from slicewise.task import Label, load_task

TASK = load_task("ich")
COLUMNS = [f"{reader}:{finding}" for reader in READERS for finding in FINDINGS.values()]


def row(name: str, *reads: str) -> str:
    """One scan; a reader's findings as six characters in the order of `FINDINGS`, "-" for an empty cell."""
    return ",".join([name, *("" if cell == "-" else cell for read in reads for cell in read)])


def write(path: Path, *rows: str, columns: list[str] | None = None) -> Path:
    header = ",".join(["name", *(COLUMNS if columns is None else columns)])
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_the_majority_of_the_readers_who_say_something_counts(tmp_path: Path) -> None:
    table = read_cq500(write(tmp_path / "reads.csv", row("CQ500-CT-1", "110001", "100001", "01-0-0")), TASK)
    assert dict(zip(table.labels, table.study_labels("CQ500-CT-1"), strict=True)) == {
        "any": 1,
        "epidural": 1,
        "intraparenchymal": 0,
        "intraventricular": 0,
        "subarachnoid": 0,
        "subdural": 1,
    }
    tied = read_cq500(write(tmp_path / "tie.csv", row("CQ500-CT-1", "100000", "000000", "------")), TASK)
    assert tied.study_labels("CQ500-CT-1") == (-1, 0, 0, 0, 0, 0)


def test_single_slices_are_unknown_and_so_are_studies_that_are_not_there(tmp_path: Path) -> None:
    table = read_cq500(write(tmp_path / "reads.csv", row("CQ500-CT-1", *["000000"] * 3)), TASK)
    assert table.values.shape == (0, 6)
    assert table.study_labels("CQ500-CT-2") == (-1,) * 6
    assert not table.denied_by_study


@pytest.mark.parametrize("patient_id", ["CQ500-CT-12", "CQ500CT12 CQ500CT12", "CQ500CT12", "cq500-ct-012"])
def test_a_study_is_found_by_every_spelling_of_its_patient(tmp_path: Path, patient_id: str) -> None:
    table = read_cq500(write(tmp_path / "reads.csv", row("CQ500-CT-12", *["100010"] * 3)), TASK)
    assert table.study_labels(patient_id) == (1, 0, 0, 0, 1, 0)


def test_studies_whose_findings_contradict_are_told(tmp_path: Path) -> None:
    table = read_cq500(write(tmp_path / "reads.csv", row("CQ500-CT-3", "000001", "100001", "000000")), TASK)
    assert table.study_labels("CQ500-CT-3") == (0, 0, 0, 0, 0, 1)
    assert [warning.code for warning in table.warnings] == ["contradicting_labels"]
    assert "CQ500-CT-3" in table.warnings[0].message


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ((row("CQ500-CT-1", "2-----", "------", "------"),), None, "row 2, column R1:ICH: '2'; expected 0, 1"),
        ((row("", *["000000"] * 3),), None, "row 2, column name: an empty cell"),
        ((row("CQ500-CT-1", *["000000"] * 3), row("CQ500CT1", *["000000"] * 3)), None, "stands twice"),
        (("CQ500-CT-1,0",), ["R1:ICH"], "has no column R1:EDH"),
    ],
)
def test_another_form_is_refused(
    tmp_path: Path, rows: tuple[str, ...], columns: list[str] | None, message: str
) -> None:
    with pytest.raises(LabelTableError, match=message):
        read_cq500(write(tmp_path / "reads.csv", *rows, columns=columns), TASK)


def test_a_task_with_other_labels_is_refused(tmp_path: Path) -> None:
    label = Label(name="tumor", display="Tumor", loss_weight=1.0, finding=TASK.labels[0].finding)
    task = msgspec.structs.replace(TASK, labels=(label,), any_rule=None)
    with pytest.raises(LabelTableError, match="say nothing about 'tumor'"):
        read_cq500(write(tmp_path / "reads.csv"), task)


def test_the_real_reads_give_the_counts_that_are_published(shared_data: Path) -> None:
    # Chilamkurthy et al. 2018, table 1: majority of three reads.
    table = read_cq500(shared_data / "cq500" / "reads.csv", TASK)
    assert table.study_values is not None
    assert len(table.study_values) == 491
    positive = dict(zip(table.labels, (table.study_values == 1).sum(axis=0).tolist(), strict=True))
    assert positive == {
        "any": 205,
        "epidural": 13,
        "intraparenchymal": 134,
        "intraventricular": 28,
        "subarachnoid": 60,
        "subdural": 53,
    }


def test_every_reader_is_told_apart(tmp_path: Path) -> None:
    rows = row("CQ500CT7 CQ500CT7", "110001", "-0--00", "000000"), row("CQ500-CT-8", *["100001"] * 3)
    reads = read_reads(write(tmp_path / "reads.csv", *rows), TASK)
    assert (reads.names, reads.labels) == (("CQ500-CT-7", "CQ500-CT-8"), TASK.label_names)
    assert reads.values.shape == (2, 3, 6)
    assert reads.values[0].tolist() == [[1, 1, 0, 0, 0, 1], [-1, 0, -1, -1, 0, 0], [0] * 6]
    assert reads.majority.tolist() == [[-1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]]


def test_reads_of_no_scan_are_none(tmp_path: Path) -> None:
    reads = read_reads(write(tmp_path / "reads.csv"), TASK)
    assert reads.values.shape == (0, 3, 6)
    assert reads.majority.shape == (0, 6)
