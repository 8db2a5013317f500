"""The driver that makes the shipped model: which stages run, go on, and are left out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import retrain
from retrain import RECIPE, Recipe, Step, plan, read_ledger

from slicewise.cli.main import build_parser
from slicewise.config import load_config
from slicewise.evaluation.model_card import Making
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import PHANTOM_VERSION

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / RECIPE.parent
COMMAND = "python recipes/retrain.py out"
WRITE = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text((p.read_text() if p.exists() else '') + '.')"
STAGE = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "new").write_text(str(os.getpid()))
(folder / "new").rename(folder / "began")
try:
    time.sleep(60)
except KeyboardInterrupt:
    (folder / "left whole").touch()
"""
DRIVER = """
import pathlib, sys, retrain
folder = pathlib.Path(sys.argv[1])
step = retrain.Step("training", ("python", "-c", sys.argv.pop(), str(folder)), folder / "run")
retrain.plan = lambda *_: (step,)
retrain.main()
"""


@pytest.fixture
def recipe() -> Recipe:
    return msgspec.convert(tomllib.loads((ROOT / RECIPE).read_text(encoding="utf-8")), Recipe)


def steps(folder: Path) -> tuple[Step, ...]:
    """Stages that each add a dot to a file of their own."""

    def step(name: str, *needs: str) -> Step:
        return Step(name, ("python", "-c", WRITE, str(folder / name)), folder / name, needs=needs)

    return (step("data"), step("training", "data"), step("effects"), step("package", "training", "effects"))


def dots(folder: Path) -> list[int]:
    return [len(path.read_text()) if path.exists() else 0 for path in (step.makes for step in steps(folder))]


def run(folder: Path, these: Sequence[Step] | None = None) -> float:
    return retrain.run(steps(folder) if these is None else these, folder / "stages.json", COMMAND)


def test_what_is_done_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = run(tmp_path)
    assert run(tmp_path) == seconds > 0
    assert dots(tmp_path) == [1, 1, 1, 1]
    assert "[2/4] training: done before" in capsys.readouterr().out


def test_what_reads_a_stage_that_ran_runs_again(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "effects").unlink()
    run(tmp_path)
    assert dots(tmp_path) == [1, 1, 1, 2]
    (tmp_path / "data").unlink()
    run(tmp_path)
    assert dots(tmp_path) == [1, 2, 1, 3]


def test_a_stage_with_another_command_runs_again(tmp_path: Path) -> None:
    run(tmp_path)
    changed = msgspec.structs.replace(read_ledger(tmp_path / "stages.json")["effects"], command="python other")
    ledger = Making(COMMAND, "a machine", (*read_ledger(tmp_path / "stages.json").values(), changed))
    retrain.write_ledger(tmp_path / "stages.json", ledger)
    run(tmp_path)
    assert dots(tmp_path) == [1, 1, 2, 2]


def test_a_stage_that_fails_stops_and_goes_on_later(tmp_path: Path) -> None:
    first, _, effects, package = steps(tmp_path)
    marker = tmp_path / "began"
    fails_once = (
        "import pathlib, sys, time; time.sleep(0.2); path = pathlib.Path(sys.argv[1]); began = path.exists();"
        "path.touch(); sys.exit(0 if began and sys.argv[2:] == ['--resume'] else 3)"
    )
    training = Step("training", ("python", "-c", fails_once, str(marker)), marker, needs=("data",), resumes=marker)
    with pytest.raises(SystemExit, match="training: failed with exit code 3"):
        run(tmp_path, (first, training, effects, package))
    assert dots(tmp_path) == [1, 0, 0, 0]
    failed = read_ledger(tmp_path / "stages.json")["training"]
    assert not failed.finished
    assert failed.seconds > 0.2
    run(tmp_path, (first, training, effects, package))
    done = read_ledger(tmp_path / "stages.json")["training"]
    assert done.finished
    assert done.seconds > failed.seconds + 0.2
    assert not done.command.endswith("--resume")


def test_what_reads_a_stage_that_ran_runs_again_after_an_interruption(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "data").unlink()
    data, training, effects, package = steps(tmp_path)
    broken = replace(training, command=("python", "-c", "raise SystemExit(3)"))
    with pytest.raises(SystemExit, match="training: failed"):
        run(tmp_path, (data, broken, effects, package))
    run(tmp_path)
    assert dots(tmp_path) == [1, 2, 1, 2]


def test_a_stage_runs_again_when_a_file_that_it_reads_changed(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("seed = 1")
    first, training, *rest = steps(tmp_path)
    these = (first, replace(training, reads=(config,)), *rest)
    run(tmp_path, these)
    run(tmp_path, these)
    assert dots(tmp_path) == [1, 1, 1, 1]
    config.write_text("seed = 2")
    run(tmp_path, these)
    assert dots(tmp_path) == [1, 2, 1, 2]


def test_a_stage_ends_with_the_driver(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), STAGE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(RECIPES)},
        stderr=subprocess.PIPE,
        text=True,
    )
    began = tmp_path / "began"
    while not began.exists() and driver.poll() is None:
        time.sleep(0.05)
    driver.terminate()
    _, words = driver.communicate(timeout=30)
    assert "terminated" in words
    assert (tmp_path / "left whole").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), signal.SIG_DFL)
    assert not read_ledger(tmp_path / "stages.json")["training"].finished


def test_a_package_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    make = "import pathlib, sys; pathlib.Path(sys.argv[1]).mkdir()"
    package = Step("package", ("python", "-c", make, str(folder)), folder, needs=("data",), starts_over=True)
    first = steps(tmp_path)[0]
    run(tmp_path, (first, package))
    (folder / "of before").touch()
    (tmp_path / "data").unlink()
    run(tmp_path, (first, package))
    assert list(folder.iterdir()) == []


def test_the_words_about_the_training_data_are_those_of_the_recipe(recipe: Recipe) -> None:
    words = load_config(RECIPES / recipe.recipe).description
    assert f"{recipe.dataset.studies:,} synthetic" in words
    assert f"version {PHANTOM_VERSION}, seed {recipe.seed} " in words
    assert recipe.dataset.seed is None


def test_the_recipe_that_ships_fits_its_commands(recipe: Recipe) -> None:
    load_config(RECIPES / recipe.recipe, [f"seed={recipe.seed}"])
    for studies in (recipe.dataset, recipe.unseen, recipe.effects):
        override_parameters(PhantomParameters(), studies.settings)
    stages = plan(Path("model"), recipe, RECIPES, workers=2)
    names = {step.name for step in stages}
    assert [step.name for step in stages if RECIPES / recipe.recipe in step.reads] == ["training", "baseline"]
    assert all(set(step.needs) <= names for step in stages)
    ours = [step.command for step in stages if step.command[0] == "slicewise"]
    assert {build_parser().parse_args(command[1:]).run.__module__.rpartition(".")[2] for command in ours} == {
        *("phantom", "train", "evaluate", "package")
    }
    for script in {step.command[1] for step in stages if step.command[0] == "python"}:
        assert (ROOT / script).is_file()
