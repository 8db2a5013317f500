from __future__ import annotations

from pathlib import Path

import pytest

from slicewise.errors import InputError
from slicewise.evaluation.leakage import shared_with_training
from slicewise.evaluation.predictions import PredictionTable


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_shared_kind_of_id_is_told(table: PredictionTable, tmp_path: Path) -> None:
    training = written(
        tmp_path / "training.csv",
        "patient_id,series,sop_uid\npatient3,x,y\npatient4,series-of-study4,sop1\nsomebody,,sop2\n",
    )
    assert shared_with_training(table, training) == (
        "2 of 15 patients were trained on (as 'patient3')",
        "1 of 16 series were trained on (as 'series-of-study4')",
        "2 of 180 images were trained on (as 'sop1')",
    )


def test_other_ids_share_nothing(table: PredictionTable, tmp_path: Path) -> None:
    training = written(tmp_path / "training.csv", "study_uid\nelsewhere\n\n")
    assert shared_with_training(table, training) == ()


def test_a_file_without_ids_is_refused(table: PredictionTable, tmp_path: Path) -> None:
    training = written(tmp_path / "training.csv", "name,age\na,3\n")
    with pytest.raises(InputError, match="expected at least one of patient_id"):
        shared_with_training(table, training)
