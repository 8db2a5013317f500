from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from slicewise.cli import phantom


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    phantom.add_parser(parser.add_subparsers())
    return parser.parse_args(["phantom", *arguments])


def test_the_command_writes_a_data_set_and_prints_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    arguments = _parse(
        str(output), "--studies", "1", "--seed", "3", "--matrix", "32", "--layout", "rsna", "--quiet", "--preview"
    )
    assert arguments.run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}\n"
    assert captured.err == ""
    names = {path.name for path in output.iterdir()}
    assert {"stage_2_train", "stage_2_train.csv", "labels.csv", "phantom.json", "preview.png"} <= names


def test_defaults_are_those_of_the_help() -> None:
    arguments = _parse("out", "--studies", "7")
    assert (arguments.studies, arguments.seed, arguments.layout, arguments.matrix) == (7, 0, "clinical", 512)
    assert (arguments.positive_share, arguments.workers, arguments.masks, arguments.preview) == (0.5, 1, False, False)


@pytest.mark.parametrize("wrong", [("out",), ("out", "--studies", "2", "--layout", "dicom")])
def test_a_wrong_call_exits_with_2(wrong: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse(*wrong)
    assert caught.value.code == 2
