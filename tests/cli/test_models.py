from __future__ import annotations

import msgspec
import pytest

import slicewise.package
from conftest import ManifestMaker
from slicewise.cli.main import main
from slicewise.package import DEFAULT_MODEL, ModelPackage
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
