from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_heads import simple_head
from slicewise.data.cq500 import read_cq500
from slicewise.phantom import study as study_module
from slicewise.phantom.layouts import rsna_id
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import PhantomStudy, generate_study
from slicewise.phantom.writer import write_phantom
from slicewise.task import load_task

STUDIES = 8
SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=32", "geometry.slices=[5, 7]", "geometry.thin=0", "geometry.medium=0", "geometry.thick=0"),
        *("hemorrhage.positive_share=0.6", "headers.second_series=0.5"),
    ],
)


@pytest.fixture(scope="module")
def cq500(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        output = tmp_path_factory.mktemp("phantom") / "cq500"
        write_phantom(output, STUDIES, seed=2, layout="cq500", parameters=SMALL)
        yield output


@lru_cache
def _study(index: int) -> PhantomStudy:
    return generate_study(2, index, SMALL)


def test_cq500_folders_are_named_as_its_archives_are(cq500: Path) -> None:
    scans = sorted((cq500 / "cq500").iterdir())
    assert [scan.name for scan in scans] == [f"CQ500CT{n} CQ500CT{n}" for n in range(1000, 1000 + STUDIES)]
    names = set()
    for scan in scans:
        assert [path.name for path in scan.iterdir()] == ["Unknown Study"]
        for folder in (scan / "Unknown Study").iterdir():
            names.add(folder.name)
            assert all(re.fullmatch(r"CT\d{6}\.dcm", path.name) for path in folder.iterdir())
            first = pydicom.dcmread(folder / "CT000000.dcm", stop_before_pixels=True)
            assert first.PatientID == scan.name.split()[0].replace("CQ500CT", "CQ500-CT-")
            assert first.SeriesDescription == folder.name
    assert len(names) > 4


def test_three_readers_mostly_say_what_is_there_and_disagree_now_and_then(cq500: Path) -> None:
    table = read_cq500(cq500 / "reads.csv", load_task("ich"))
    assert table.study_values is not None
    right = []
    for index in range(STUDIES):
        study = _study(index)
        row = table.study_values[table.rows_by_study[f"CQ500-CT-{1000 + index}"]]
        for label, column in zip(row, study.labels.T, strict=True):
            if 1 in column or not column.any():
                right.append(label == int(1 in column))
    assert np.mean(right) > 0.9
    with (cq500 / "reads.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row[f"{reader}:MidlineShift"] in "01" for row in rows for reader in ("R1", "R2", "R3"))
    for row in rows:
        for reader in ("R1", "R2", "R3"):
            kinds = [int(row[f"{reader}:{kind}"]) for kind in ("IPH", "IVH", "SDH", "EDH", "SAH")]
            assert int(row[f"{reader}:ICH"]) == max(kinds)


def test_readers_disagree(cq500: Path) -> None:
    with (cq500 / "reads.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH")
    split = [len({row[f"{reader}:{kind}"] for reader in ("R1", "R2", "R3")}) > 1 for row in rows for kind in kinds]
    assert 0 < np.mean(split) < 0.3


def test_labels_of_slices_are_there_too(cq500: Path) -> None:
    with (cq500 / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["patient_id"] for row in rows} == {f"CQ500-CT-{n}" for n in range(1000, 1000 + STUDIES)}


@given(st.integers(0, 2**35), st.integers(0, 2**35), st.integers(0, 5))
def test_names_of_the_challenge_never_clash(first: int, second: int, seed: int) -> None:
    names = [rsna_id(seed, "slice", number) for number in (first, second)]
    assert all(re.fullmatch(r"ID_[0-9a-f]{9}", name) for name in names)
    assert (names[0] == names[1]) == (first == second)
