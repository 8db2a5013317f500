from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_files import seeded_uid, write_series
from slicewise.cli import prepare
from slicewise.cli.common import DEFAULT_TASK
from slicewise.data.store import Dataset
from slicewise.errors import DatasetError, LabelTableError, MissingExtraError, TaskError, UsageError
from slicewise.task import load_task, shipped_tasks

TASK = load_task("ich")
AFFINE = np.diag([-10.0, -10.0, 5.0, 1.0])


def call(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["prepare", *map(str, arguments), "--quiet", "--workers", "1"])
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for patient_id in ("A", "B"):
        write_series(tmp_path / "images" / patient_id, slices=8, matrix=16, patient_id=patient_id)
    return tmp_path / "images"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    lines = [f"sop_uid,patient_id,{','.join(TASK.label_names)}"]
    for patient_id in ("A", "B"):
        series = seeded_uid("series", seeded_uid("study", patient_id))
        for index in range(8):
            values = "1,1,0,0,0," if (patient_id, index) == ("A", 3) else "0,0,0,0,0,0"
            lines.append(f"{seeded_uid('slice', series, index)},{patient_id},{values}")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_summary_is_printed(tmp_path: Path, images: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "dataset"
    code = call(output, "--layout", "table", "--images", images, "--labels", labels, "--holdout", "0.5", "--seed", "1")
    printed = capsys.readouterr()
    assert code == 0
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].split() == ["series", "2", "(0", "of", "an", "earlier", "call)"]
    assert lines[1].split() == ["slices", "16"]
    assert lines[2].split() == ["patients", "1", "train,", "1", "test"]
    assert lines[3].startswith("rejected  0 unreadable, 0 not chosen")
    counts = {line.split()[0]: line.split()[1:] for line in lines[5:11]}
    assert list(counts) == list(TASK.label_names)
    assert counts[TASK.label_names[0]] == ["1", "15", "0"]
    assert counts[TASK.label_names[5]] == ["0", "15", "1"]
    assert lines[-1] == f"Dataset: {output}"
    assert sorted(Dataset.open(output).splits) == ["A", "B"]


def test_masks_are_counted(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    uid = seeded_uid("series", seeded_uid("study", "A"))
    empty = nibabel.Nifti1Image(np.zeros((16, 16, 8), dtype=np.uint8), AFFINE)  # type: ignore[no-untyped-call]
    nibabel.save(empty, masks / f"{uid}.nii.gz")
    assert call(tmp_path / "dataset", "--layout", "table", "--images", images, "--masks", masks) == 0
    assert "masks     of 1 series" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"--masks .*nowhere: there is no such folder"):
        call(tmp_path / "dataset", "--layout", "table", "--images", images, "--masks", tmp_path / "nowhere")


def test_unreadable_input_is_exit_code_3(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "notes.txt").write_text("not a scan", encoding="utf-8")
    assert call(tmp_path / "dataset", "--layout", "table", "--images", images) == 3
    assert "rejected  1 unreadable, 0 not chosen" in capsys.readouterr().out


def test_series_that_are_not_chosen_are_no_error(tmp_path: Path, images: Path) -> None:
    write_series(images / "scout", slices=1, matrix=16, patient_id="A", series_uid="1.2.9")
    assert call(tmp_path / "dataset", "--layout", "table", "--images", images) == 0


def test_warnings_are_printed(tmp_path: Path, images: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "dataset", "--layout", "table", "--images", images / "A", "--labels", labels) == 0
    assert "warning: 8 labelled slices are not among the prepared images" in capsys.readouterr().out


def test_nothing_prepared_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call(tmp_path / "dataset", "--layout", "rsna", "--images", tmp_path / "empty") == 1


def test_a_wrong_call_is_a_usage_error(tmp_path: Path, images: Path) -> None:
    common = (tmp_path / "dataset", "--layout", "table", "--images")
    with pytest.raises(UsageError, match=r"--labels .*no such file"):
        call(*common, images, "--labels", tmp_path / "missing.csv")
    with pytest.raises(UsageError, match="no such file or folder"):
        call(*common, tmp_path / "missing")
    with pytest.raises(UsageError, match="holdout"):
        call(*common, images, "--holdout", "2")
    with pytest.raises(TaskError, match="There is no task 'unheard-of'"):
        call(*common, images, "--task", "unheard-of")
    with pytest.raises(SystemExit) as stop:
        call(tmp_path / "dataset", "--layout", "unheard-of", "--images", images)
    assert stop.value.code == 2


def test_another_holdout_is_refused_with_both_values(tmp_path: Path, images: Path) -> None:
    common = (tmp_path / "dataset", "--layout", "table", "--images", images)
    assert call(*common, "--holdout", "0.5") == 0
    with pytest.raises(DatasetError, match=r"holdout 0\.5, not 0\.0"):
        call(*common)


def test_the_help_of_all_commands_loads_nothing_heavy_and_names_one_default_task() -> None:
    code = (
        "import sys; from slicewise.cli.main import build_parser; build_parser().format_help(); "
        "print([name for name in ('msgspec', 'numpy', 'polars', 'pydicom', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert DEFAULT_TASK in shipped_tasks()


def test_no_worker_is_a_usage_error(tmp_path: Path, images: Path) -> None:
    arguments = argparse.Namespace(
        output=tmp_path / "d", images=[images], labels=None, reads=None, masks=None, workers=0
    )
    with pytest.raises(UsageError, match="--workers 0: expected at least 1"):
        prepare.run(arguments)


def test_a_label_file_in_another_form_names_the_columns(tmp_path: Path, images: Path, labels: Path) -> None:
    with pytest.raises(LabelTableError, match="expected ID, Label"):
        call(tmp_path / "dataset", "--layout", "rsna", "--images", images, "--labels", labels)


def test_the_command_is_light_until_it_runs() -> None:
    code = (
        "import sys; import slicewise.cli.prepare; "
        "print([name for name in ('msgspec', 'numpy', 'polars', 'pydicom', 'scipy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_training_libraries_the_extra_is_named(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "slicewise.data.prepare", None)  # as if polars were not installed
    with pytest.raises(MissingExtraError, match=r"slicewise\[train\]"):
        call(tmp_path / "dataset", "--layout", "table", "--images", images)


def test_series_are_asked_for(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uid = seeded_uid("series", seeded_uid("study", "B"))
    common = (tmp_path / "dataset", "--layout", "table", "--images", images)
    assert call(*common, "--series", uid, "--series", "1.2.3") == 0
    assert [record.series_uid for record in Dataset.open(tmp_path / "dataset").records] == [uid]
    assert "1 series that were asked for are not among the images (as 1.2.3)" in capsys.readouterr().out
