from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import slicewise.package
from carded import make_card
from conftest import ManifestMaker
from slicewise.cli.main import main
from slicewise.evaluation.model_card import encode_card
from slicewise.package import CARD, DEFAULT_MODEL, ModelPackage, write_package
from slicewise.task import load_task


def input_line(card: str) -> str:
    (line,) = [line for line in card.splitlines() if line.startswith("  input ")]
    return " ".join(line.split())


def test_the_card_says_the_unit_of_the_windows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make_manifest: ManifestMaker
) -> None:
    assert main(["models", DEFAULT_MODEL]) == 0
    assert input_line(capsys.readouterr().out) == "input windows brain 40/80, subdural 80/200, bone 600/2800, in HU"
    manifest = msgspec.structs.replace(make_manifest(), task=load_task("mri_tumor"), thresholds={"tumor": 0.5})
    monkeypatch.setattr(slicewise.package, "load_package", lambda _: ModelPackage(manifest, "0" * 64, {}))
    assert main(["models", "mine"]) == 0
    assert input_line(capsys.readouterr().out) == (
        "input windows whole range 1500/3000, brain 1000/1200, bright 1900/1800, "
        "in thousandths of the reference of the series"
    )


@pytest.fixture
def with_card(tmp_path: Path, make_manifest: ManifestMaker) -> Path:
    files = {"encoder.onnx": b"1", "fusion.onnx": b"2", "NOTICE": b"A notice.\x1b[2J\nIts second line.\n"}
    manifest = make_manifest()
    write_package(tmp_path / "mine.zip", manifest, {**files, CARD: encode_card(make_card(manifest.task))})
    return tmp_path / "mine.zip"


def test_what_a_model_was_tested_on_stands_below_what_it_is(
    capsys: pytest.CaptureFixture[str], with_card: Path
) -> None:
    assert main(["models", str(with_card)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("limitation") < printed.index("Tested on held-out patients") < printed.index("Robustness")
    assert "A notice.\\x1b[2J\nIts second line.\n" in printed


def test_the_card_is_part_of_the_json(capsys: pytest.CaptureFixture[str], with_card: Path) -> None:
    assert main(["models", str(with_card), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert card["evaluations"][0]["slice"]["any"]["auroc"] == {"value": 0.9, "low": 0.89, "high": 0.91}


def test_a_model_without_a_card_is_shown_as_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make_manifest: ManifestMaker
) -> None:
    write_package(
        tmp_path / "plain.zip", make_manifest(), {"encoder.onnx": b"1", "fusion.onnx": b"2", "NOTICE": b"No."}
    )
    assert main(["models", str(tmp_path / "plain.zip")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("  digest ")
    assert main(["models", str(tmp_path / "plain.zip"), "--json"]) == 0
    assert "card" not in json.loads(capsys.readouterr().out)
