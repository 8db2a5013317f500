"""Compares rules that set a threshold of studies on few of them.

Of the studies in `predictions.csv` of `evaluate`, some with and some without a finding are drawn at random; every rule
sets its threshold on them, and is measured on all others.

    python benchmarks/study_thresholds.py evaluation/predictions.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.goals import parse_goal
from slicewise.evaluation.prediction_files import read_predictions
from slicewise.evaluation.study_thresholds import equal_odds_threshold
from slicewise.task import load_task

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]

GOALS = ("youden", "sensitivity=0.95", "sensitivity=0.9")
RULES: dict[str, Callable[[Scores, Truth], float | None]] = {
    **{goal: parse_goal(goal).threshold for goal in GOALS},
    "logistic model": equal_odds_threshold,
}
NEGATIVE = 80


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Rules that set a threshold of studies, on few studies.")
    parser.add_argument("predictions", type=Path, help="predictions.csv of `slicewise evaluate`")
    parser.add_argument("--task", default="ich", help="their task (default: %(default)s)")
    parser.add_argument("--positive", type=int, nargs="+", default=(3, 5, 10, 20), help="studies with the finding")
    parser.add_argument("--draws", type=int, default=200, help="random draws (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    task = load_task(arguments.task)
    studies = read_predictions(arguments.predictions, None, task).studies(task)
    generator = np.random.default_rng(arguments.seed)
    print("| label | studies with + without | " + " | ".join(RULES) + " |")
    print("|---" * (len(RULES) + 2) + "|")
    for index, name in enumerate(task.label_names):
        truth = studies.targets[:, index]
        positive, negative = (np.flatnonzero(truth == target) for target in (1, 0))
        for count in arguments.positive:
            if len(positive) < 2 * count or len(negative) <= NEGATIVE:
                continue
            found: dict[str, list[float]] = {rule: [] for rule in RULES}
            for _ in range(arguments.draws):
                drawn = np.concatenate(
                    [
                        generator.choice(rows, size, replace=False)
                        for rows, size in ((positive, count), (negative, NEGATIVE))
                    ]
                )
                rest = np.setdiff1d(np.concatenate([positive, negative]), drawn)
                scores = studies.probabilities[:, index].astype(np.float64)
                for rule, choose in RULES.items():
                    threshold = choose(scores[drawn], truth[drawn])
                    found[rule].append(_youden(scores[rest], truth[rest], 0.5 if threshold is None else threshold))
            cells = (f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in found.values())
            print(f"| {name} | {count} + {NEGATIVE} | {' | '.join(cells)} |", flush=True)


def _youden(scores: Scores, truth: Truth, threshold: float) -> float:
    """Returns sensitivity + specificity - 1."""
    flagged = scores >= threshold
    return float(flagged[truth == 1].mean() - flagged[truth == 0].mean())


if __name__ == "__main__":
    main()
