from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from slicewise.config import RunConfig, load_config
from slicewise.errors import TaskError
from slicewise.task import PreprocessingParameters, Task, load_task, shipped_tasks

ICH, MRI_TUMOR = (
    (resources.files("slicewise") / "tasks" / f"{name}.toml").read_text(encoding="utf-8")
    for name in ("ich", "mri_tumor")
)

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
        ("pixel_mm = 1.0", "pixel_mm = 1.0\npixel_m = 2", "pixel_m"),
        ("pixel_mm = 1.0", "pixel_mm = 0", "pixel_mm"),
        ('label = "any"', 'label = "some"', "some"),
        ('name = "epidural"', 'name = "any"', "stands twice"),
        ("width = 80.0", "width = 0.0", "width above 0"),
        ('axial_unit = "mm"', 'axial_unit = "cm"', "axial_unit"),
        ("pixel_mm = 1.0", 'pixel_mm = 1.0\nintensity = "percent"', "intensity"),
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


def test_the_shipped_tasks_load_under_their_names() -> None:
    assert shipped_tasks() == ("ich", "mri_tumor")
    assert [load_task(name).name for name in shipped_tasks()] == list(shipped_tasks())


def test_the_task_of_mr_has_values_without_a_unit_of_their_own() -> None:
    task = load_task("mri_tumor")
    assert (task.series.modality, task.axial_unit, task.preprocessing.intensity) == ("MR", "index", "relative")
    assert task.preprocessing.unit == "thousandths of the reference of the series"
    assert load_task("ich").preprocessing.unit == "HU"
    # What is outside of the image is 0, and as black in every channel as air is in CT.
    assert all(channel.center - channel.width / 2 >= 0 for channel in task.channels)


@pytest.mark.parametrize("line", ['head_box = "skull"', "cupping_limit_hu = 40.0", "deep_brain_limit_hu = 8.0"])
def test_what_needs_hounsfield_units_is_refused_without_them(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MRI_TUMOR.replace('intensity = "relative"', f'intensity = "relative"\n{line}'))
    with pytest.raises(TaskError, match="need intensity 'hounsfield'"):
        load_task(path)
    path.write_text(MRI_TUMOR.replace('intensity = "relative"', line))
    assert load_task(path).preprocessing.intensity == "hounsfield"


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(TaskError, match="one of: ich, mri_tumor"):
        load_task("ihc")


def test_the_preprocessing_digest_tells_parameters_apart() -> None:
    parameters = load_task("ich").preprocessing
    changed = msgspec.structs.replace(parameters, pixel_mm=parameters.pixel_mm + 0.1)
    assert parameters.digest() == load_task("ich").preprocessing.digest()
    assert parameters.digest() != changed.digest()


def test_parameters_that_came_later_are_off_by_default_and_leave_the_digest_alone() -> None:
    old = {"pixel_mm": 1.3, "size": 160, "slab_mm": 5.0, "body_threshold": -200.0, "opening_mm": 8.0}
    parameters = msgspec.convert(old, PreprocessingParameters)
    assert msgspec.to_builtins(parameters) == old
    # Of slicewise 0.1, before there was a shading correction.
    assert parameters.digest() == "23679ea9630717c90f1d72dc5f997a7dd251c3e00514dbb694f987d389e1dd5b"
    for changed in (
        {"head_box": "skull"},
        {"cupping_limit_hu": 40.0},
        {"deep_brain_limit_hu": 8.0},
        {"intensity": "relative"},
    ):
        assert msgspec.structs.replace(parameters, **changed).digest() != parameters.digest()


def test_the_preprocessing_of_ich_is_that_of_its_shipped_model() -> None:
    # Of ich-phantom-small, version 2: a task of another kind must not make packages and datasets of this one invalid.
    digest = "c0d3f91546ff1ec6a159a009ba0be3ff7802fa9e482ba49a6afae23be0c4a98e"
    assert load_task("ich").preprocessing.digest() == digest


@pytest.mark.parametrize("key", ["cupping_limit_hu", "deep_brain_limit_hu"])
def test_limits_below_zero_are_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(rf"^{key} = .*$", f"{key} = -1.0", ICH, flags=re.MULTILINE))
    with pytest.raises(TaskError, match=key):
        load_task(path)


TRAINING = """
[training]
seed = 3
description = "Ümlauts, [brackets] and \\"quotes\\""
[training.stage1]
epochs = 9
learning_rate = 2e-3
[training.stage1.augment]
flip = 0.0
[training.fusion]
chain = true
"""


def test_what_a_task_wants_of_training_survives_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{ICH}\n{TRAINING}", encoding="utf-8")
    task = load_task(path)
    assert task.training == {
        "seed": 3,
        "description": 'Ümlauts, [brackets] and "quotes"',
        "stage1": {"epochs": 9, "learning_rate": 2e-3, "augment": {"flip": 0.0}},
        "fusion": {"chain": True},
    }
    # As dataset.json and the manifest of a model keep it.
    stored = msgspec.json.decode(msgspec.json.encode(task), type=Task)
    assert stored == task
    config = load_config(defaults=stored.training)
    assert config == load_config(defaults=task.training)
    assert (config.seed, config.stage1.epochs, config.stage1.augment.flip, config.fusion.chain) == (3, 9, 0.0, True)


def test_a_task_that_wants_nothing_leaves_the_defaults() -> None:
    content = {name: value for name, value in msgspec.to_builtins(load_task("ich")).items() if name != "training"}
    assert msgspec.convert(content, Task).training == {}


@pytest.mark.parametrize("name", shipped_tasks())
def test_the_training_section_of_a_shipped_task_is_a_run_configuration(name: str) -> None:
    training = load_task(name).training
    config = load_config(defaults=training, source=name)
    assert (config == RunConfig()) is (training == {})
