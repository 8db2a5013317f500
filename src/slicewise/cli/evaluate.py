"""`slicewise evaluate`: a model on a dataset, or predictions beside labels -> metrics with intervals."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.evaluation.predictions import PredictionTable
    from slicewise.evaluation.protocol import Differences, Metrics
    from slicewise.evaluation.scoring import Split
    from slicewise.inference.detector import Detector
    from slicewise.progress import Progress
    from slicewise.task import Task

EPILOG = """\
example:
  slicewise evaluate runs/fusion dataset --output results --compare runs/single
  slicewise evaluate --predictions slices.csv --labels labels.csv --output results

writes into --output:
  metrics.json       every metric with its 95 % interval (patients resampled)
  predictions.csv    every slice with its probabilities and labels
  with --compare: predictions-NAME.csv of every compared model, and comparison.json with its metrics and with the
  paired differences, MODEL minus the compared one

Patients that a model was trained on are refused. Rows without a label enter no metric.
"""

_MODEL_OPTIONS = ("split", "compare", "submission", "sample", "runtime", "allow_seen_patients")
_FILE_OPTIONS = ("predictions", "labels", "task")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model, or predictions, against labels",
        description="Measure a model on a prepared dataset, or predictions of any origin, against slice labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="slicewise evaluate MODEL DATASET --output DIR [--split test|all] [--compare MODEL]... "
        "[--submission FILE [--sample FILE]] [--runtime NAME] [--allow-seen-patients] [--resamples N] [--seed S]\n"
        "       slicewise evaluate --predictions FILE --labels FILE --output DIR [--task NAME|FILE] [--resamples N] "
        "[--seed S]",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="shipped model, model package or run folder")
    parser.add_argument("dataset", nargs="?", type=Path, metavar="DATASET", help="folder made by `slicewise prepare`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--split", choices=("test", "all"), help="patients to score (default: test)")
    parser.add_argument("--compare", action="append", metavar="MODEL", help="a further model on the same patients")
    parser.add_argument("--submission", type=Path, metavar="FILE", help="write an RSNA 2019 submission as well")
    parser.add_argument("--sample", type=Path, metavar="FILE", help="order the submission like this sample file")
    parser.add_argument("--runtime", choices=("openvino", "onnxruntime", "torch"), help="engine (default: openvino)")
    parser.add_argument(
        "--allow-seen-patients", action="store_true", default=None, help="score patients the model was trained on"
    )
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="CSV as slices.csv of `slicewise predict`")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="CSV with sop_uid (or series, slice_index), labels")
    parser.add_argument("--task", metavar="NAME|FILE", help=f"task of the predictions (default: {DEFAULT_TASK})")
    parser.add_argument(
        "--resamples", type=_count, default=1000, metavar="N", help="resamples of the patients (default: %(default)s)"
    )
    parser.add_argument("--seed", type=_count, default=0, metavar="S", help="seed of the resamples (default: 0)")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `evaluate`."""
    from_files = arguments.predictions is not None or arguments.labels is not None
    _check_call(arguments, from_files=from_files)
    progress = terminal_progress(quiet=arguments.quiet)
    if from_files:
        _evaluate_files(arguments, progress)
    else:
        _evaluate_models(arguments, progress)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def _check_call(arguments: argparse.Namespace, *, from_files: bool) -> None:
    given = {name for name in (*_MODEL_OPTIONS, *_FILE_OPTIONS) if getattr(arguments, name) is not None}
    if from_files:
        if arguments.predictions is None or arguments.labels is None:
            raise UsageError("--predictions and --labels belong together")
        wrong, form = sorted(given & set(_MODEL_OPTIONS)), "MODEL and DATASET"
        if arguments.model is not None:
            raise UsageError("give either MODEL and DATASET, or --predictions and --labels, not both")
    else:
        if arguments.model is None or arguments.dataset is None:
            raise UsageError("give MODEL and DATASET, or --predictions and --labels. See slicewise evaluate --help")
        wrong, form = sorted(given & set(_FILE_OPTIONS)), "--predictions and --labels"
    if wrong:
        raise UsageError(f"--{wrong[0].replace('_', '-')} goes with {form} only")
    if arguments.sample is not None and arguments.submission is None:
        raise UsageError("--sample goes with --submission only")


def _evaluate_files(arguments: argparse.Namespace, progress: Progress) -> None:
    try:
        from slicewise.evaluation.prediction_files import read_predictions
    except ModuleNotFoundError as error:
        raise MissingExtraError("Evaluation", "train") from error
    from slicewise.evaluation.protocol import evaluate
    from slicewise.task import load_task

    task = load_task(arguments.task or DEFAULT_TASK)
    table = read_predictions(arguments.predictions, arguments.labels, task)
    metrics = evaluate(table, task, resamples=arguments.resamples, seed=arguments.seed, progress=progress)
    name = arguments.predictions.name
    _write(arguments.output, {name: table}, {name: metrics}, {})
    _print(arguments.output, task, {name: metrics}, {})


def _evaluate_models(arguments: argparse.Namespace, progress: Progress) -> None:
    try:
        from slicewise.data.store import Dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("Evaluation", "train") from error
    from slicewise.evaluation.protocol import compare, evaluate
    from slicewise.evaluation.scoring import predict_dataset, select_records
    from slicewise.inference.detector import Detector

    dataset = Dataset.open(arguments.dataset)
    split: Split = arguments.split or "test"
    allowed = bool(arguments.allow_seen_patients)
    models = (arguments.model, *(arguments.compare or ()))
    detectors = _named([Detector.load(model, arguments.runtime or "openvino") for model in models])
    # All models are checked before the first of them works through the dataset.
    for detector in detectors.values():
        select_records(detector, dataset, split, allow_seen_patients=allowed)
    tables: dict[str, PredictionTable] = {}
    metrics: dict[str, Metrics] = {}
    differences: dict[str, Differences] = {}
    first = next(iter(detectors))
    for name, detector in detectors.items():
        table = predict_dataset(detector, dataset, split, allow_seen_patients=allowed, progress=progress)
        manifest = detector.package.manifest
        tables[name] = table
        metrics[name] = evaluate(
            table,
            dataset.task,
            thresholds=manifest.thresholds,
            model={"name": name, "version": manifest.version, "digest": detector.package.digest},
            resamples=arguments.resamples,
            seed=arguments.seed,
            progress=progress,
        )
        if name != first:
            differences[name] = compare(
                tables[first],
                table,
                dataset.task,
                resamples=arguments.resamples,
                seed=arguments.seed,
                progress=progress,
            )
    _write(arguments.output, tables, metrics, differences)
    _print(arguments.output, dataset.task, metrics, differences)
    if arguments.submission is not None:
        _submit(arguments.submission, arguments.sample, tables[first], dataset.task)


def _named(detectors: Sequence[Detector]) -> dict[str, Detector]:
    """Gives every model a name that is its own and fit for a file."""
    named: dict[str, Detector] = {}
    for detector in detectors:
        name = stem = re.sub(r"[^\w.-]+", "_", detector.package.manifest.name)
        while name in named:
            name = f"{stem}-{len(named) + 1}"
        named[name] = detector
    return named


def _write(
    output: Path,
    tables: dict[str, PredictionTable],
    metrics: dict[str, Metrics],
    differences: dict[str, Differences],
) -> None:
    from slicewise.evaluation.prediction_files import write_predictions

    first = next(iter(tables))
    for name, table in tables.items():
        write_predictions(output / ("predictions.csv" if name == first else f"predictions-{name}.csv"), table)
    _write_json(output / "metrics.json", metrics[first])
    if differences:
        compared = {name: {"metrics": metrics[name], "difference": found} for name, found in differences.items()}
        _write_json(output / "comparison.json", {"model": first, "compared": compared})


def _write_json(path: Path, content: object) -> None:
    import msgspec

    from slicewise.files import write_bytes_atomically

    write_bytes_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=1))


def _submit(path: Path, sample: Path | None, table: PredictionTable, task: Task) -> None:
    from slicewise.data.rsna import write_submission

    summary = write_submission(path, table.sop_uids, table.probabilities, task, sample=sample)
    print(
        f"Submission: {path} ({summary.rows} rows, {summary.filled} of them without a prediction and filled in, "
        f"{summary.unused} predictions not asked for)"
    )


def _print(output: Path, task: Task, metrics: dict[str, Metrics], differences: dict[str, Differences]) -> None:
    from slicewise.evaluation.summary import summarise
    from slicewise.results import DISCLAIMER

    print(summarise(task, metrics, differences))
    print(f"Results: {output}")
    print(DISCLAIMER)
