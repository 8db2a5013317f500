"""What only `prepare` as a whole shows of a second call is in test_prepare.py."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from slicewise.data.resume import Renamed, check_output, follow_renamed, remove_remains
from slicewise.data.store import DatasetManifest
from slicewise.data.writing import write_manifest
from slicewise.errors import DatasetError
from slicewise.task import load_task

TASK = load_task("ich")
MANIFEST = DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", holdout=0.2, seed=1)


def renamed(before: str, after: str) -> Renamed:
    return Renamed(f"series of {before}", before, after)


def test_series_stay_where_they_were_under_a_new_name() -> None:
    known = {"A": "train", "B": "test", "C": "test"}
    followed = follow_renamed(Path("d"), known, [renamed("A", "X"), renamed("B", "Y"), renamed("C", "Y")])
    assert followed == known | {"X": "train", "Y": "test"}
    # One that no finished call has dealt is free to go anywhere.
    assert follow_renamed(Path("d"), known, [renamed("new", "X")]) == known


@pytest.mark.parametrize("relabelled", [[("A", "X"), ("B", "X")], [("A", "B")]])
def test_a_patient_in_both_parts_is_refused(relabelled: list[tuple[str, str]]) -> None:
    known = {"A": "train", "B": "test"}
    with pytest.raises(DatasetError, match="Use a new folder"):
        follow_renamed(Path("d"), known, [renamed(*names) for names in relabelled])


def test_a_free_folder_has_no_patients(tmp_path: Path) -> None:
    assert check_output(tmp_path / "new", MANIFEST, []) == {}
    assert check_output(tmp_path, MANIFEST, []) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_split_of_an_earlier_call_is_known_and_must_be_the_same(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert check_output(tmp_path, MANIFEST, []) == {}  # interrupted before it dealt its patients
    write_manifest(tmp_path, msgspec.structs.replace(MANIFEST, complete=True))
    with pytest.raises(DatasetError, match=r"splits\.csv: cannot be read"):
        check_output(tmp_path, MANIFEST, [])
    (tmp_path / "splits.csv").write_text("patient_id,split\nA,test\n", encoding="utf-8")
    assert check_output(tmp_path, MANIFEST, []) == {"A": "test"}
    for change, message in (({"holdout": 0.3}, r"holdout 0\.2, not 0\.3"), ({"seed": 2}, "seed 1, not 2")):
        with pytest.raises(DatasetError, match=message):
            check_output(tmp_path, msgspec.structs.replace(MANIFEST, **change), [])


def test_remains_are_removed_and_files_of_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "series" / ".half.part").mkdir(parents=True)
    (tmp_path / "series" / ".DS_Store").touch()
    remove_remains(tmp_path, [])
    assert [item.name for item in (tmp_path / "series").iterdir()] == [".DS_Store"]
