from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.torch

from slicewise.config import FusionConfig, RunConfig, load_config
from slicewise.data.prepare import prepare
from slicewise.data.store import Dataset, folder_name
from slicewise.errors import ConfigError, UsageError
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.scoring import predict_dataset
from slicewise.inference.detector import Detector
from slicewise.models import export
from slicewise.task import load_task
from slicewise.training import comparison, packing, recipe
from slicewise.training.comparison import compare_heads
from slicewise.training.recipe import train
from tiny import SLICES, write_tiny

CONFIG = (
    "encoder.name=test_convnext",
    "stage1.steps=12",
    "stage1.batch_size=16",
    "stage1.validation_slices=0",
    "fusion.epochs=3",
    "fusion.batch_size=2",
    "fusion.hidden_size=8",
)
PATIENTS, TESTED = 24, 6
Tables = dict[str, list[PredictionTable]]


def config(*overrides: str) -> RunConfig:
    return load_config(None, (*CONFIG, *overrides))


def head(name: str, *overrides: str) -> FusionConfig:
    return config(f"fusion.name={name}", *overrides).fusion


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=PATIENTS)
    prepare(folder / "dataset", "table", [images], labels, load_task(task), holdout=TESTED / PATIENTS, workers=1)
    return Dataset.open(folder / "dataset")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `compared`; tests add heads to it."""
    return tmp_path_factory.mktemp("comparison") / "output"


@pytest.fixture(scope="module")
def compared(dataset: Dataset, output: Path) -> Tables:
    return compare_heads(dataset, output, config(), {"window": head("window")})


class Calls:
    """Counts the calls of a function of a module, and still makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
        self.count = 0
        self.function: Callable[..., Any] = getattr(module, name)
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self.function(*arguments, **options)


@pytest.fixture
def stage1(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, recipe, "train_stage1")


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, comparison, "train_stage2")


@pytest.fixture
def networks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was packed last is what is loaded: the export to ONNX has tests of its own and takes longer than these."""
    packed: dict[str, Any] = {}

    def pack_as(file: str) -> Callable[..., bytes]:
        def keep(network: object, **_: int) -> bytes:
            packed[file] = network
            return file.encode()

        return keep

    monkeypatch.setattr(packing, "export_encoder", pack_as("encoder"))
    monkeypatch.setattr(packing, "export_fusion", pack_as("fusion"))
    monkeypatch.setattr(export, "load_networks", lambda _: (packed["encoder"].eval(), packed["fusion"].eval()))


def same(first: Sequence[PredictionTable], second: Sequence[PredictionTable]) -> bool:
    return all(
        one.slice_keys() == other.slice_keys() and np.array_equal(one.probabilities, other.probabilities)
        for one, other in zip(first, second, strict=True)
    )


def stage1_weights(output: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in output.glob("*/stage1/network.safetensors")}


def held_out(dataset: Dataset) -> set[str]:
    return {patient for patient, split in dataset.splits.items() if split == "test"}


def test_the_baseline_is_always_there_and_all_score_the_same_slices(dataset: Dataset, compared: Tables) -> None:
    assert list(compared) == ["none", "window"]
    (none,), (window,) = compared.values()
    assert set(none.patients) == held_out(dataset)
    assert len(none) == TESTED * SLICES
    assert none.slice_keys() == window.slice_keys()
    np.testing.assert_array_equal(none.targets, window.targets)
    assert not np.array_equal(none.probabilities, window.probabilities)


@pytest.mark.usefixtures("networks_as_they_are")
@pytest.mark.parametrize("name", ["none", "window"])
def test_predictions_are_those_of_a_model_that_is_trained_and_packed(
    dataset: Dataset, output: Path, compared: Tables, tmp_path: Path, name: str
) -> None:
    path = train(dataset, tmp_path / "run", config(f"fusion.name={name}"), reuse_stage1=output / "runs")
    table = predict_dataset(Detector.load(path, "torch"), dataset)
    (found,) = compared[name]
    assert found.slice_keys() == table.slice_keys()
    np.testing.assert_array_equal(found.targets, table.targets)
    np.testing.assert_allclose(found.probabilities, table.probabilities, atol=2e-5)


def test_stage_1_is_that_of_a_run_of_its_own(dataset: Dataset, output: Path, compared: Tables, tmp_path: Path) -> None:
    del compared
    context = recipe.start_training(dataset, tmp_path / "run", config("fusion.name=rolling", "fusion.seed=5"))
    recipe.describe_patients(context)
    alone, shared = (
        safetensors.torch.load_file(path / "stage1" / "network.safetensors")
        for path in (tmp_path / "run", output / "runs")
    )
    assert alone.keys() == shared.keys()
    for name, values in alone.items():
        np.testing.assert_array_equal(values, shared[name])


def test_a_second_call_trains_nothing_and_gives_the_same(
    dataset: Dataset, output: Path, compared: Tables, stage1: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a head was trained again")

    before = stage1_weights(output)
    monkeypatch.setattr(comparison, "train_stage2", refuse)
    again = compare_heads(dataset, output, config(), {"window": head("window")})
    assert list(again) == list(compared)
    assert all(same(again[name], compared[name]) for name in compared)
    assert stage1_weights(output) == before
    assert stage1.count == 1  # which takes the weights that are there
    # The head of the run configuration is that of no head.
    again = compare_heads(dataset, output, config("fusion.name=rolling", "fusion.epochs=9"), {"window": head("window")})
    assert same(again["window"], compared["window"])


def test_more_seeds_add_trainings_and_leave_others(
    dataset: Dataset, output: Path, compared: Tables, heads: Calls
) -> None:
    before = stage1_weights(output)
    more = compare_heads(dataset, output, config(), {"window": head("window")}, seeds=3)
    assert heads.count == 2
    assert [len(tables) for tables in more.values()] == [1, 3]  # the baseline has nothing to train
    assert same(more["window"][:1], compared["window"])
    first, second, third = (table.probabilities for table in more["window"])
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    assert stage1_weights(output) == before
    # The seeds count up from that of the configuration.
    later = compare_heads(dataset, output, config(), {"window": head("window", "fusion.seed=1")}, seeds=2)
    assert heads.count == 2
    assert same(later["window"], more["window"][1:])


def test_another_configuration_under_the_same_name_is_trained_again(
    dataset: Dataset, output: Path, compared: Tables, heads: Calls
) -> None:
    first = compare_heads(dataset, output, config(), {"mine": head("window")})
    assert same(first["mine"], compared["window"])
    changed = compare_heads(dataset, output, config(), {"mine": head("window", "fusion.learning_rate=0.02")})
    assert heads.count == 2
    assert not same(changed["mine"], first["mine"])
    # Nothing of the other one is left: neither weights to go on from nor predictions.
    back = compare_heads(dataset, output, config(), {"mine": head("window")})
    assert heads.count == 3
    assert same(back["mine"], first["mine"])


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_damaged_predictions_are_made_again(
    dataset: Dataset, output: Path, compared: Tables, heads: Calls, damage: bytes | None
) -> None:
    path = output / "runs" / "heads" / "window" / "seed-0" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    again = compare_heads(dataset, output, config(), {"window": head("window")})
    assert heads.count == 1
    assert same(again["window"], compared["window"])


def test_what_is_interrupted_goes_on(
    dataset: Dataset, tmp_path: Path, compared: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(comparison, "train_stage2", interrupt)
        compare_heads(dataset, tmp_path / "output", config(), {"window": head("window")})
    assert len(stage1_weights(tmp_path / "output")) == 1
    resumed = compare_heads(dataset, tmp_path / "output", config(), {"window": head("window")})
    assert all(same(resumed[name], compared[name]) for name in compared)


@pytest.mark.parametrize(
    ("change", "message"),
    [("stage1.steps=13", r"stage1\.steps is 12 there and 13 here"), ("seed=1", "seed is 0 there and 1 here")],
)
def test_another_stage_1_in_the_same_folder_is_refused(
    dataset: Dataset, output: Path, compared: Tables, change: str, message: str
) -> None:
    before = stage1_weights(output)
    with pytest.raises(UsageError, match=message) as caught:
        compare_heads(dataset, output, config(change), {"window": head("window")})
    assert str(output) in str(caught.value)
    assert "choose another --output" in str(caught.value)
    assert stage1_weights(output) == before
    assert compared


def test_an_unknown_head_is_refused_before_anything_is_trained(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no head 'lstm'"):
        compare_heads(dataset, tmp_path / "output", config(), {"lstm": FusionConfig(name="lstm")})
    assert not (tmp_path / "output").exists()


def test_none_is_single_slices_whatever_is_given_under_that_name(
    dataset: Dataset, output: Path, compared: Tables, heads: Calls
) -> None:
    again = compare_heads(dataset, output, config(), {"none": head("none", "fusion.chain=true")}, seeds=2)
    assert heads.count == 0
    assert same(again["none"], compared["none"])


def test_a_chain_on_single_slices_is_a_head_of_its_own(dataset: Dataset, output: Path, compared: Tables) -> None:
    found = compare_heads(dataset, output, config(), {"chain": head("chain")}, seeds=2)
    assert [len(tables) for tables in found.values()] == [1, 2]
    assert not same(found["chain"][:1], compared["none"])


def test_without_test_patients_folds_are_named(dataset: Dataset, tmp_path: Path) -> None:
    without = replace(dataset, splits=dict.fromkeys(dataset.splits, "train"))
    with pytest.raises(UsageError, match=r"no test patients\. .*--holdout, or use --folds"):
        compare_heads(without, tmp_path / "output", config(), {})
    with pytest.raises(UsageError, match=rf"--folds {PATIENTS + 1}: the dataset holds {PATIENTS} patients"):
        compare_heads(without, tmp_path / "output", config(), {}, folds=PATIENTS + 1)
    assert not (tmp_path / "output").exists()


def parts(path: Path) -> dict[str, str]:
    with (path / "splits.csv").open(newline="") as stream:
        return {row["patient_id"]: row["split"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize(("method", "folds"), [("split", 3), ("kfold", 2)])
def test_folds_test_every_patient_once_on_a_stage_1_that_has_not_seen_them(
    dataset: Dataset, tmp_path: Path, stage1: Calls, method: str, folds: int
) -> None:
    wanted = {"window": head("window", "fusion.epochs=1")}
    settings = config("stage1.steps=2", f"split.method={method}", "split.folds=2")
    tables = compare_heads(dataset, tmp_path, settings, wanted, folds=folds)
    # One a fold, shared by all heads; the encoders of inner folds are trained elsewhere.
    assert stage1.count == folds
    runs = sorted(tmp_path.iterdir())
    assert [run.name for run in runs] == ["fold-1", "fold-2", "fold-3"][:folds]
    assert len(list(tmp_path.rglob("network.safetensors"))) == (folds if method == "split" else folds * 3)
    (table,) = tables["window"]
    assert len(table) == PATIENTS * SLICES
    assert set(table.patients) == set(dataset.splits)
    learned_from = [set(parts(run)) for run in runs]
    tested = [set(dataset.splits) - patients for patients in learned_from]
    assert sorted(patient for patients in tested for patient in patients) == sorted(dataset.splits)
    # The rows of a fold are those of the patients that its run does not know.
    ends = np.cumsum([SLICES * len(patients) for patients in tested])
    for patients, rows in zip(tested, np.split(np.array(table.patient_ids), ends[:-1]), strict=True):
        assert set(rows.tolist()) == patients
    for run, patients in zip(runs, tested, strict=True):
        described = described_by(dataset, run)
        assert patients <= described
        probabilities = np.load(run / "heads" / "window" / "seed-0" / "predictions.npz")["probabilities"]
        own = np.isin(np.array(table.patient_ids), sorted(patients))
        np.testing.assert_array_equal(table.probabilities[own], probabilities)
    assert all(tables[name][0].slice_keys() == table.slice_keys() for name in tables)
    # More folds are other folds.
    with pytest.raises(UsageError, match=r"fold-1: holds something else\. Call with the same dataset, folds"):
        compare_heads(dataset, tmp_path, settings, wanted, folds=folds + 1)


def described_by(dataset: Dataset, run: Path) -> set[str]:
    """The patients of whom a run stores descriptors."""
    stored = {path.stem.rpartition("-")[0] for path in (run / "descriptors").rglob("*.npz")}
    return {record.patient_id for record in dataset.records if folder_name(record.series_uid) in stored}


def test_every_original_slice_gets_the_probability_of_its_position(dataset: Dataset) -> None:
    # Rows 1 and 2 are duplicates at one position, and every row but the last is a slab of two slices.
    record = msgspec.structs.replace(
        dataset.records[0],
        row_positions_mm=(0.0, 5.0, 5.0, 10.0),
        duplicate_rank=(0, 0, 1, 0),
        slab_of_slice=(0, 0, 1, 2, 1, 2, 3),
    )
    assert comparison._position_of_slice(record).tolist() == [0, 0, 1, 1, 1, 1, 2]
