from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from phantom_heads import simple_head
from slicewise.cli import phantom
from slicewise.data.store import Dataset
from slicewise.errors import UsageError
from slicewise.phantom import study


@pytest.fixture(autouse=True)
def _simple_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "render_head", simple_head)


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    phantom.add_parser(parser.add_subparsers())
    return parser.parse_args(["phantom", *arguments])


def test_the_command_writes_a_data_set_and_prints_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    arguments = _parse(
        *(str(output), "--studies", "1", "--seed", "3", "--matrix", "32", "--layout", "rsna", "--quiet", "--preview"),
        *("--set", "geometry.slices=[4, 4]", "--set", "geometry.thin=0", "--set", "geometry.medium=0"),
    )
    assert arguments.run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}\n"
    assert captured.err == ""
    names = {path.name for path in output.iterdir()}
    assert {"stage_2_train", "stage_2_train.csv", "labels.csv", "phantom.json", "preview.png"} <= names


def test_a_dataset_is_made_without_dicom(tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    arguments = _parse(
        *(str(output), "--studies", "2", "--dataset", "--matrix", "64", "--holdout", "0.5", "--quiet"),
        *("--set", "geometry.slices=[4, 6]", "--set", "geometry.thin=0", "--set", "geometry.medium=0"),
    )
    assert arguments.run(arguments) == 0
    dataset = Dataset.open(output)
    assert len(dataset.records) == 2
    assert sorted(dataset.splits.values()) == ["test", "train"]
    assert list(output.rglob("*.dcm")) == []


def test_defaults_and_shortcuts(tmp_path: Path) -> None:
    plain = _parse("out", "--studies", "7")
    assert (plain.studies, plain.seed, plain.layout, plain.workers) == (7, 0, "clinical", 1)
    assert phantom.parameters_of(plain).geometry.matrix == 512
    assert phantom.parameters_of(_parse("out", "--studies", "1", "--dataset")).geometry.matrix == 256
    chosen = phantom.parameters_of(
        _parse("out", "--studies", "1", "--matrix", "128", "--positive-share", "1", "--preset", "clinical")
    )
    assert chosen.geometry.matrix == 128
    assert chosen.hemorrhage.share_of_positives == 1.0
    assert chosen.hemorrhage.preset == "clinical"
    last = phantom.parameters_of(_parse("out", "--studies", "1", "--matrix", "128", "--set", "geometry.matrix=64"))
    assert last.geometry.matrix == 64
    with pytest.raises(UsageError, match="--masks"):
        arguments = _parse(str(tmp_path / "x"), "--studies", "1", "--dataset", "--masks")
        arguments.run(arguments)


def test_settings_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse("--settings")
    assert caught.value.code == 0
    assert "geometry.matrix = 512\n    Rows and columns." in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ("out",),
        ("out", "--studies", "2", "--layout", "dicom"),
        ("out", "--studies", "1", "--dataset", "--layout", "rsna"),
    ],
)
def test_a_wrong_call_exits_with_2(wrong: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse(*wrong)
    assert caught.value.code == 2
