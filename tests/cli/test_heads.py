from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import msgspec
import pytest

from slicewise.cli import heads
from slicewise.cli.main import main
from slicewise.data.store import MANIFEST, Dataset
from slicewise.evaluation.evidence import Estimate
from slicewise.evaluation.ranking import RankedModel
from slicewise.models.fusion import HEADS
from tiny import SLICES, write_tiny

TRAINING = (
    "--set=encoder.name=test_convnext",
    "--set=stage1.steps=6",
    "--set=stage1.validation_slices=0",
    "--set=fusion.epochs=1",
    "--set=fusion.batch_size=4",
    "--set=fusion.hidden_size=8",
    "--quiet",
)
PATIENTS, TESTED = 20, 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=PATIENTS)
    prepare = ["prepare", str(folder / "dataset"), "--layout=table", f"--images={images}", f"--labels={labels}"]
    assert main([*prepare, f"--task={task}", f"--holdout={TESTED / PATIENTS}", "--workers=1", "--quiet"]) == 0
    return folder / "dataset"


def with_training(dataset: Path, folder: Path, training: dict[str, object]) -> Path:
    """The same dataset, whose task wants something of training."""
    folder.mkdir()
    for item in dataset.iterdir():
        if item.name != MANIFEST:
            (folder / item.name).symlink_to(item)
    manifest = Dataset.open(dataset).manifest
    task = msgspec.structs.replace(manifest.task, training=training)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, task=task)))
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_is_written_and_printed(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "heads"
    chosen = ("--head=rolling", "--head=bigru,inputs=compact,members=2", "--seeds=2", "--resamples=40")
    command = ["heads", str(dataset), "--output", str(output), *chosen, *TRAINING]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "error" not in printed.err
    table, caption = (output / "heads.md").read_text().split("\n\n")
    assert printed.out == f"{table}\n{caption}"
    assert caption.startswith(f"{TESTED} patients, {TESTED * SLICES} slices. ")
    rows = read(output / "heads.csv")
    assert {row["name"]: row["seeds"] for row in rows} == {"none": "1", "rolling": "2", chosen[1][7:]: "2"}
    estimates = [
        f"{name}_{part}"
        for name in (
            "weighted_log_loss",
            "auroc",
            "average_precision",
            "loss_ratio",
            "loss_difference",
            "auroc_difference",
        )
        for part in ("value", "low", "high")
    ]
    assert list(rows[0]) == ["name", "seeds", *estimates, "over_seeds"]
    losses = [float(row["weighted_log_loss_value"]) for row in rows]
    assert losses == sorted(losses)
    (none,) = [row for row in rows if row["name"] == "none"]
    assert none["over_seeds"] == ""
    assert [none[f"loss_ratio_{part}"] for part in ("value", "low", "high")] == ["1.0", "1.0", "1.0"]
    for row in rows:
        assert float(row["loss_difference_value"]) == pytest.approx(
            float(row["weighted_log_loss_value"]) - float(none["weighted_log_loss_value"]), abs=1e-12
        )
        # The printed table shows the same figures.
        (line,) = [line for line in printed.out.splitlines() if line.startswith(f"| `{row['name']}` |")]
        assert f"| {float(row['weighted_log_loss_value']):.4f} [" in line
        assert float(row["weighted_log_loss_low"]) <= float(row["weighted_log_loss_high"])
    # The same call again only reads.
    before = {path: path.stat().st_mtime_ns for path in output.rglob("predictions.npz")}
    assert len(before) == 1 + 2 * 2
    assert main(command) == 0
    assert capsys.readouterr().out == printed.out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("predictions.npz")} == before


def test_folds_test_all_patients_as_the_task_wants_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training: dict[str, object] = {"stage1": {"batch_size": 7}, "split": {"encoder": 0.5}, "fusion": {"noise": 0.5}}
    wanting = with_training(dataset, tmp_path / "dataset", training)
    config = tmp_path / "run.toml"
    config.write_text("[split]\nfusion = 0.3\n")
    command = ["heads", str(wanting), "--output", str(tmp_path / "heads"), "--folds=2", "--resamples=0"]
    assert main([*command, "--head=window,noise=0.4", "--head=conv", f"--config={config}", *TRAINING]) == 0
    assert f"{PATIENTS} patients, {PATIENTS * SLICES} slices" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "heads").iterdir()) == ["fold-1", "fold-2", "heads.csv", "heads.md"]
    for fold in ("fold-1", "fold-2"):
        run = msgspec.json.decode((tmp_path / "heads" / fold / "run.json").read_bytes())
        assert run["config"]["stage1"]["batch_size"] == 7
        assert (run["config"]["split"]["encoder"], run["config"]["split"]["fusion"]) == (0.5, 0.3)
    assert [row["auroc_low"] for row in read(tmp_path / "heads" / "heads.csv")] == ["", "", ""]


def parsed_heads(dataset: Path, *arguments: str, training: dict[str, object] | None = None) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    heads.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["heads", str(dataset), "--output=none", *arguments])
    task = msgspec.structs.replace(Dataset.open(dataset).task, training=training or {})
    default = heads._config(parsed, task).fusion
    return dict(heads._heads(parsed, default, task))


def test_settings_of_all_heads_and_of_one(dataset: Path) -> None:
    found = parsed_heads(
        dataset,
        "--set=fusion.hidden_size=12",
        "--head=bigru",
        "--head=window,hidden_size=16,chain=true,inputs=pca",
        training={"fusion": {"dropout": 0.1, "hidden_size": 99}},
    )
    assert list(found) == ["bigru", "window,hidden_size=16,chain=true,inputs=pca"]
    bigru, window = (msgspec.to_builtins(config) for config in found.values())
    assert (bigru["name"], bigru["hidden_size"], bigru["dropout"], bigru["chain"]) == ("bigru", 12, 0.1, False)
    assert (window["name"], window["hidden_size"], window["dropout"]) == ("window", 16, 0.1)
    assert (window["chain"], window["inputs"]) == (True, "pca")


def test_without_a_choice_every_head_is_compared(dataset: Path) -> None:
    assert set(HEADS) < set(parsed_heads(dataset))
    assert {"transformer,inputs=descriptor", "transformer,inputs=pca"} <= set(parsed_heads(dataset))
    assert "window,inputs=differences" in parsed_heads(dataset, "--set=fusion.name=window")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds=1"], "--folds 1: expected 2 or more, or 0"),
        (["--folds=-2"], "--folds -2: expected"),
        (["--folds=21"], "--folds 21: the dataset holds 20 patients"),
        (["--seeds=0"], "--seeds 0: expected 1 or more"),
        (["--resamples=-1"], "--resamples -1: expected 0 or more"),
        (["--head=lstm"], "there is no head 'lstm'. Expected one of: bigru, "),
        (["--head=rolling", "--head="], "there is no head ''"),
        (["--head=bigru,hiden_size=3"], "--head bigru,hiden_size=3: "),
        (["--head=bigru,members"], "--head bigru,members: "),
        (["--head=bigru,members=0"], "--head bigru,members=0: "),
        (["--head=bigru,inputs=all"], "--head bigru,inputs=all: "),
        (["--set=fusion.hiden_size=3"], "--set fusion.hiden_size=3: expected key=value with one of the keys"),
        (["--config=none.toml"], "none.toml: cannot be read"),
    ],
)
def test_a_wrong_call_is_named_and_nothing_is_trained(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "heads"
    assert main(["heads", str(dataset), "--output", str(output), *TRAINING, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("slicewise: error: ")
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not output.exists()


def test_without_test_patients_folds_are_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_train = with_training(dataset, tmp_path / "dataset", {})
    splits = all_train / "splits.csv"
    text = splits.read_text()
    splits.unlink()
    splits.write_text(re.sub("test$", "train", text, flags=re.MULTILINE))
    assert main(["heads", str(all_train), "--output", str(tmp_path / "heads"), *TRAINING]) == 2
    assert "no test patients. Prepare it with --holdout, or use --folds" in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()


@pytest.mark.parametrize("command", ["heads", "train"])
def test_a_mistake_in_the_task_names_the_task(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    wrong = with_training(dataset, tmp_path / "dataset", {"stage1": {"epoch": 3}})
    assert main([command, str(wrong), "--output", str(tmp_path / "output"), *TRAINING]) == 2
    assert "error: task 'squares', training: Object contains unknown field `epoch`" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_the_help_has_an_example_and_says_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["heads", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n  slicewise heads dataset --output heads --seeds 3" in text
    for name in ("heads.csv", "heads.md", "--head NAME[,KEY=VALUE]...", "--folds K", "--seeds N"):
        assert name in text


def test_the_table_says_what_is_not_defined() -> None:
    nothing = Estimate(None, None, None)
    loss = Estimate(0.1, 0.05, 0.2)
    row = RankedModel("bigru,inputs=pca", 2, loss, nothing, nothing, nothing, nothing, nothing, 0.01234)
    lines = heads._markdown([row]).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| `bigru,inputs=pca` | 0.1000 [0.0500, 0.2000] | n/a | ")
    assert lines[2].endswith("| 0.0123 (2) |")
    (parsed,) = csv.DictReader(heads._csv([row]).splitlines())
    assert (parsed["name"], parsed["auroc_value"], parsed["over_seeds"]) == ("bigru,inputs=pca", "", "0.01234")
