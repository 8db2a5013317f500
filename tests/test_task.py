from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec
import pytest

from slicewise.errors import TaskError
from slicewise.task import load_task, shipped_tasks

ICH = (resources.files("slicewise") / "tasks" / "ich.toml").read_text(encoding="utf-8")

# Dihedral group and permutations of Verhoeff's check digit (Verhoeff 1969), as SNOMED CT identifiers use it.
MULTIPLY = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
]
PERMUTE = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def verhoeff_check(code: str) -> int:
    check = 0
    for place, character in enumerate(reversed(code)):
        digit = int(character)
        for _ in range(place % 8):
            digit = PERMUTE[digit]
        check = MULTIPLY[check][digit]
    return check


def test_ich_follows_the_challenge() -> None:
    task = load_task("ich")
    assert task.label_names == (
        "any",
        "epidural",
        "intraparenchymal",
        "intraventricular",
        "subarachnoid",
        "subdural",
    )
    # "any" counts twice: https://www.kaggle.com/competitions/rsna-intracranial-hemorrhage-detection, evaluation
    assert task.loss_weights == (2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert task.any_index == 0
    assert [(item.center, item.width) for item in task.channels] == [(40, 80), (80, 200), (600, 2800)]


@pytest.mark.parametrize("name", shipped_tasks())
def test_snomed_codes_have_a_valid_check_digit(name: str) -> None:
    labels = load_task(name).labels
    codes = [code for label in labels for code in (label.finding, label.site) if code is not None]
    snomed = [code.value for code in codes if code.scheme == "SCT"]
    assert snomed
    assert [value for value in snomed if verhoeff_check(value) != 0] == []


def test_the_check_digit_finds_a_wrong_code() -> None:
    assert verhoeff_check("1386001") != 0


def test_a_task_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ICH)
    assert load_task(path) == load_task("ich")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pixel_mm = 1.3", "pixel_mm = 1.3\npixel_m = 2", "pixel_m"),
        ("pixel_mm = 1.3", "pixel_mm = 0", "pixel_mm"),
        ('label = "any"', 'label = "some"', "some"),
        ('name = "epidural"', 'name = "any"', "stands twice"),
        ("width = 80.0", "width = 0.0", "width above 0"),
        ('axial_unit = "mm"', 'axial_unit = "cm"', "axial_unit"),
        ("[series]", "[series", "line"),
    ],
)
def test_a_mistake_in_a_task_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ICH.replace(old, new, 1))
    with pytest.raises(TaskError, match=message) as caught:
        load_task(path)
    assert str(path) in str(caught.value)


def test_a_task_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(ICH.encode().replace(b"Epidural", b"\xc9pidural"))
    with pytest.raises(TaskError, match=r"mine\.toml: not UTF-8"):
        load_task(path)


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(TaskError, match="one of: ich"):
        load_task("ihc")


def test_the_preprocessing_digest_tells_parameters_apart() -> None:
    parameters = load_task("ich").preprocessing
    changed = msgspec.structs.replace(parameters, pixel_mm=parameters.pixel_mm + 0.1)
    assert parameters.digest() == load_task("ich").preprocessing.digest()
    assert parameters.digest() != changed.digest()
