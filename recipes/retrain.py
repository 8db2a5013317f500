"""Makes the shipped model from nothing: data, training, baseline, evaluation, robustness, localisation, package.

    python recipes/retrain.py OUT [--recipe recipes/retrain.toml] [--workers 2]

Every stage is a command that is printed. What is finished is skipped, and an interrupted stage goes on where it
stopped, so the same call can be repeated. OUT/stages.json keeps commands and times, and goes onto the model's card.
The model is OUT/package. To be called from the root of the repository.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import msgspec

from slicewise.evaluation.model_card import Making, Stage
from slicewise.files import write_bytes_atomically

RECIPE = Path("recipes/retrain.toml")
NOTICE = Path("NOTICE")
PROGRAMS = {"slicewise": (sys.executable, "-m", "slicewise.cli"), "python": (sys.executable,)}
"""How the first word of a command is started: with the Python that runs this."""

SAVE_EVERY_S = 30
"""A stage that is killed loses at most so many seconds of its time in stages.json."""

STOP_S = 120
"""A stage that is asked to stop has so long to leave what it has whole; then it is ended."""


class Studies(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Phantom studies.

    Attributes:
        studies: How many.
        words: What they are as test data, for the card.
        settings: `--set` of the generator.
        holdout: Share of the patients kept for the test.
        seed: Another seed than that of the recipe; None for the same.
    """

    studies: int
    words: str = ""
    settings: tuple[str, ...] = ()
    holdout: float = 1.0
    seed: int | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the TOML beside this file holds.

    Attributes:
        recipe: Configuration of the training, beside the file.
        seed: Seed of phantoms, split and training.
        dataset: Training and test patients.
        unseen: Test patients unlike those of the training.
        effects: Patients on whom single effects are measured.
    """

    recipe: str
    seed: int
    dataset: Studies
    unseen: Studies
    effects: Studies


@dataclass(frozen=True)
class Step:
    """A stage to run.

    Attributes:
        name: Its name.
        command: Its words; the first one is a key of `PROGRAMS`.
        makes: What is there when it is done.
        needs: Stages whose results it reads; it runs again when one of them did.
        reads: Other files that it reads; it runs again when one of them changed.
        resumes: File of a stage that was begun before; the command then gets --resume.
        starts_over: What is there is removed before it runs.
    """

    name: str
    command: tuple[str, ...]
    makes: Path
    needs: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()
    resumes: Path | None = None
    starts_over: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for all of it")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="what to make (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that generate (%(default)s)")
    arguments = parser.parse_args()
    if not Path("benchmarks/phantom_effects.py").is_file():  # all paths of the commands stay short, and nobody's own
        parser.error("call it from the root of the repository, where recipes/ and benchmarks/ are")
    signal.signal(signal.SIGTERM, _terminated)
    recipe = msgspec.convert(tomllib.loads(arguments.recipe.read_text(encoding="utf-8")), Recipe)
    steps = plan(arguments.output, recipe, arguments.recipe.parent, arguments.workers)
    seconds = run(steps, arguments.output / "stages.json", shlex.join(("python", "recipes/retrain.py", *sys.argv[1:])))
    print(f"\n{arguments.output / 'package'}: made in {seconds:.0f} s")


def plan(output: Path, recipe: Recipe, folder: Path, workers: int) -> tuple[Step, ...]:
    """Returns the stages, in order."""
    dataset, unseen, fusion, single = (output / name for name in ("dataset", "unseen", "run", "none"))
    evaluation, on_unseen = output / "evaluation", output / "evaluation-unseen"
    effects, localisation, package = (output / name for name in ("effects.json", "localisation.json", "package"))
    config = folder / recipe.recipe
    train = ("--config", str(config), f"--set=seed={recipe.seed}")
    return (
        _phantom("data", dataset, recipe.dataset, recipe.seed, workers),
        _phantom("unlike data", unseen, recipe.unseen, recipe.seed, workers),
        Step(
            "training",
            ("slicewise", "train", str(dataset), "--output", str(fusion), *train),
            fusion / "package",
            needs=("data",),
            reads=(config,),
            resumes=fusion / "run.json",
        ),
        Step(
            "baseline",
            (
                *("slicewise", "train", str(dataset), "--output", str(single), "--reuse-stage1", str(fusion)),
                *(*train, "--set=fusion.name=none", "--set=name=none"),
            ),
            single / "package",
            needs=("training",),
            reads=(config,),
            resumes=single / "run.json",
        ),
        _evaluate("evaluation", fusion, dataset, single, evaluation, data="data"),
        _evaluate("evaluation on unlike data", fusion, unseen, single, on_unseen, data="unlike data"),
        Step(
            "robustness",
            (
                *("python", "benchmarks/phantom_effects.py", str(fusion), "--output", str(effects)),
                *("--studies", str(recipe.effects.studies), "--workers", str(workers)),
                *("--seed", str(_seed(recipe.effects, recipe.seed))),
                *(f"--set={setting}" for setting in recipe.effects.settings),
            ),
            effects,
            needs=("training",),
        ),
        Step(
            "localisation",
            ("python", "benchmarks/localisation.py", str(fusion), str(dataset), "--output", str(localisation)),
            localisation,
            needs=("training",),
        ),
        Step(
            "package",
            (
                *("slicewise", "package", str(fusion), str(package)),
                *("--evaluation", str(evaluation), "--tested-on", recipe.dataset.words),
                *("--evaluation", str(on_unseen), "--tested-on", recipe.unseen.words),
                *("--robustness", str(effects), "--localisation", str(localisation)),
                *("--making", str(output / "stages.json"), "--notice", str(NOTICE)),
            ),
            package,
            needs=("training", "evaluation", "evaluation on unlike data", "robustness", "localisation"),
            reads=(NOTICE,),
            starts_over=True,
        ),
    )


def _phantom(name: str, folder: Path, studies: Studies, seed: int, workers: int) -> Step:
    return Step(
        name,
        (
            *("slicewise", "phantom", str(folder), "--dataset", "--studies", str(studies.studies)),
            *("--seed", str(_seed(studies, seed)), "--holdout", str(studies.holdout), "--workers", str(workers)),
            *(f"--set={setting}" for setting in studies.settings),
        ),
        folder / "dataset.json",
    )


def _evaluate(name: str, model: Path, dataset: Path, baseline: Path, output: Path, *, data: str) -> Step:
    command = ("slicewise", "evaluate", str(model), str(dataset), "--compare", str(baseline), "--output", str(output))
    return Step(name, command, output / "metrics.json", needs=("training", "baseline", data))


def _seed(studies: Studies, seed: int) -> int:
    return seed if studies.seed is None else studies.seed


def run(steps: Sequence[Step], ledger: Path, command: str) -> float:
    """Runs what is not finished and returns the seconds of all stages.

    A stage is finished if the ledger says so of the same command and files, what it makes is there, and no stage that
    it needs has begun since.

    Args:
        steps: The stages, in order.
        ledger: File that keeps them.
        command: The call that runs all of them.

    Raises:
        SystemExit: If a stage fails.
    """
    stages = read_ledger(ledger)

    def save(stage: Stage) -> None:
        stages[stage.name] = stage
        kept = tuple(stages[step.name] for step in steps if step.name in stages)
        write_ledger(ledger, Making(command, machine(), kept))

    for number, step in enumerate(steps, start=1):
        stage = Stage(step.name, shlex.join(step.command), 0.0, finished=False, files_digest=digest(step.reads))
        before = stages.get(step.name)
        if before is not None and (before.command, before.files_digest) == (stage.command, stage.files_digest):
            if before.finished and step.makes.exists():
                print(f"[{number}/{len(steps)}] {step.name}: done before, in {before.seconds:.0f} s", flush=True)
                continue
            stage = msgspec.structs.replace(before, finished=False)
        print(f"\n[{number}/{len(steps)}] {step.name}\n$ {stage.command}", flush=True)
        for later in steps:  # forgotten before it begins: none of them looks finished if this call is interrupted
            if step.name in later.needs:
                stages.pop(later.name, None)
        stage = run_step(step, stage, save)
        print(f"{step.name}: {stage.seconds:.0f} s", flush=True)
    return sum(stages[step.name].seconds for step in steps)


def run_step(step: Step, stage: Stage, save: Callable[[Stage], None]) -> Stage:
    """Runs one stage and keeps its time, that of earlier attempts included."""
    if step.starts_over and step.makes.exists():
        shutil.rmtree(step.makes)
    resume = ("--resume",) if step.resumes is not None and step.resumes.exists() else ()
    program, *words = step.command
    save(stage)
    started, spent = time.monotonic(), stage.seconds
    process = subprocess.Popen([*PROGRAMS[program], *words, *resume])
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SAVE_EVERY_S)
            stage = msgspec.structs.replace(stage, seconds=spent + time.monotonic() - started)
            save(stage)
    except KeyboardInterrupt:  # from the terminal: the stage has got the same signal
        _wait_for_end(process)
        raise SystemExit(f"{step.name}: interrupted. The same call goes on") from None
    except BaseException:  # no stage stays behind that the same call would start a second time
        process.send_signal(signal.SIGINT)
        _wait_for_end(process)
        raise
    if process.returncode != 0:
        raise SystemExit(f"{step.name}: failed with exit code {process.returncode}. The same call goes on from here")
    stage = msgspec.structs.replace(stage, finished=True)
    save(stage)
    return stage


def _terminated(*_: object) -> Never:
    raise SystemExit("terminated. The same call goes on")


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def digest(files: Sequence[Path]) -> str:
    """Returns the SHA-256 over the contents of files, "" for none."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest() if files else ""


def read_ledger(path: Path) -> dict[str, Stage]:
    """Returns what is known of stages, by name."""
    if not path.is_file():
        return {}
    return {stage.name: stage for stage in msgspec.json.decode(path.read_bytes(), type=Making).stages}


def write_ledger(path: Path, making: Making) -> None:
    """Writes what is known of stages."""
    write_bytes_atomically(path, msgspec.json.format(msgspec.json.encode(making), indent=1))


def machine() -> str:
    """Returns on what this runs, in words."""
    names = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} {'core' if cores == 1 else 'cores'} of {names[0] if names else platform.processor() or 'a CPU'}"


if __name__ == "__main__":
    main()
