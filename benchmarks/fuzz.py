"""Damages many scans and reads them as `slicewise predict` does: none may crash, hang, fill memory or get lost.

Every input follows from the seed and its number. A call goes on where the last one with the same --output stopped,
by default that of the same seed.

python benchmarks/fuzz.py --files 20000 [--seed 1] [--data ../shared/data] [--output FOLDER]

Prints how inputs ended, by reason. What went wrong is kept in OUTPUT/NUMBER with a report. Linux alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # also of the processes that judge

from fuzzing.cases import Case, CaseMaker  # noqa: E402
from fuzzing.pool import Judged, Pool  # noqa: E402


class Tally(msgspec.Struct):
    """What was found so far."""

    seed: int
    files: int = 0
    outcomes: dict[str, int] = {}
    problems: dict[str, list[int]] = {}
    cpu_seconds: float = 0.0
    longest_seconds: float = 0.0
    largest_bytes: int = 0

    def add(self, number: int, judged: Judged) -> None:
        """Counts the input of a number, the next one."""
        self.files = number + 1
        outcome = in_short(judged.verdict.outcome)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        for problem in dict.fromkeys(judged.verdict.problems):
            self.problems.setdefault(problem, []).append(number)
        self.cpu_seconds += judged.cpu_seconds
        self.longest_seconds = max(self.longest_seconds, judged.cpu_seconds)
        self.largest_bytes = max(self.largest_bytes, judged.peak_bytes)


def in_short(outcome: str) -> str:
    """Names the outcome of an input of several files or frames that did not end alike."""
    if " + " not in outcome:
        return outcome
    return "decoded in part" if "decoded" in outcome.split(" + ") else "several reasons"


def resumed(path: Path, seed: int) -> Tally:
    if not path.exists():
        return Tally(seed)
    tally = msgspec.json.decode(path.read_bytes(), type=Tally)
    if tally.seed != seed:
        sys.exit(f"{path} is of seed {tally.seed}, not {seed}. Choose another --output")
    return tally


def keep(folder: Path, case: Case, judged: Judged) -> None:
    case.write(folder / "input")
    lines = [case.name, f"input: {case.entry or 'the folder'}", *judged.verdict.problems, "", judged.verdict.details]
    (folder / "report.txt").write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")


def fuzz(tally: Tally, arguments: argparse.Namespace) -> None:
    maker = CaseMaker(tally.seed, arguments.data if arguments.data.is_dir() else None)
    state = arguments.output / "tally.json"
    with Pool() as pool:
        for number in tqdm(
            range(tally.files, arguments.files), initial=tally.files, total=arguments.files, unit="file"
        ):
            case = maker.make(number)
            judged = pool.judge(case)
            tally.add(number, judged)
            if judged.verdict.problems:
                keep(arguments.output / str(number), case, judged)
            if judged.verdict.problems or tally.files % 100 == 0:
                state.write_bytes(msgspec.json.encode(tally))
    state.write_bytes(msgspec.json.encode(tally))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="number of inputs in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data", help="further valid scans")
    parser.add_argument("--output", type=Path, help="tally and failures (default: a folder for temporary files)")
    arguments = parser.parse_args()
    arguments.output = arguments.output or Path(tempfile.gettempdir()) / f"slicewise-fuzz-{arguments.seed}"
    arguments.output.mkdir(parents=True, exist_ok=True)
    tally = resumed(arguments.output / "tally.json", arguments.seed)
    fuzz(tally, arguments)
    for outcome, count in Counter(tally.outcomes).most_common():
        print(f"{count:7d}  {outcome}")
    print(
        f"{tally.files} files, seed {tally.seed}; longest {tally.longest_seconds:.1f} s of the processor, mean "
        f"{1000 * tally.cpu_seconds / max(tally.files, 1):.0f} ms; most memory {tally.largest_bytes / 1024**2:.0f} MiB"
    )
    for problem, numbers in tally.problems.items():
        print(f"PROBLEM {problem}: {len(numbers)} files, as {', '.join(map(str, numbers[:5]))}")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
