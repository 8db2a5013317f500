"""`slicewise evaluate`: a model on a dataset, or predictions beside labels -> metrics with intervals."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.cli.evaluation import (
    Evaluation,
    add_room_options,
    count,
    print_evaluation,
    read_attributes_of,
    refuse_own_inputs,
    room_of,
    with_attributes_of,
    write_evaluation,
)
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.evaluation.predictions import PredictionTable
    from slicewise.evaluation.scoring import Split
    from slicewise.inference.detector import Detector
    from slicewise.progress import Progress
    from slicewise.task import Task

EPILOG = """\
example:
  slicewise evaluate runs/fusion dataset --output results --compare runs/single
  slicewise evaluate --predictions slices.csv --labels labels.csv --output results

writes into --output:
  report.html        all of it to read, with figures, a threshold to move and the worst errors; figures/ as PNG and SVG
  metrics.json       every metric with its 95 % interval (patients resampled)
  predictions.csv    every slice with its probabilities, labels and attributes
  with --compare: predictions-NAME.csv of every compared model, and comparison.json with its metrics and with the
  paired differences, MODEL minus the compared one

Patients, studies and images that a model was trained on are refused. Rows without a label enter no metric.
--attributes adds subgroups: a CSV with sop_uid, series_uid, study_uid or patient_id, and any other columns; a column
arrival_minutes says when a study came.
"""

_MODEL_OPTIONS = ("split", "compare", "submission", "sample", "runtime")
_FILE_OPTIONS = ("predictions", "labels", "task", "training")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model, or predictions, against labels",
        description="Measure a model on a prepared dataset, or predictions of any origin, against slice labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="slicewise evaluate MODEL DATASET --output DIR [--split test|all] [--compare MODEL]... "
        "[--submission FILE [--sample FILE]] [--runtime NAME] [--allow-seen-patients] [OPTIONS]\n"
        "       slicewise evaluate --predictions FILE [--labels FILE] --output DIR [--task NAME|FILE] "
        "[--training FILE [--allow-seen-patients]] [OPTIONS]",
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
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="CSV with sop_uid (or series, slice_index), labels; without it columns label_NAME are",
    )
    parser.add_argument(
        "--training", type=Path, metavar="FILE", help="CSV with ids that the model was trained on: they are refused"
    )
    parser.add_argument("--task", metavar="NAME|FILE", help=f"task of the predictions (default: {DEFAULT_TASK})")
    parser.add_argument("--attributes", type=Path, metavar="FILE", help="CSV with more attributes for subgroups")
    add_room_options(parser)
    parser.add_argument(
        "--resamples", type=count, default=1000, metavar="N", help="resamples of the patients (default: %(default)s)"
    )
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="seed of the resamples (default: 0)")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `evaluate`."""
    inputs = (arguments.predictions, arguments.labels, arguments.attributes, arguments.training)
    refuse_own_inputs(arguments.output, inputs)
    from_files = arguments.predictions is not None or arguments.labels is not None
    _check_call(arguments, from_files=from_files)
    progress = terminal_progress(quiet=arguments.quiet)
    if from_files:
        _evaluate_files(arguments, progress)
    else:
        _evaluate_models(arguments, progress)
    return 0


def _check_call(arguments: argparse.Namespace, *, from_files: bool) -> None:
    given = {name for name in (*_MODEL_OPTIONS, *_FILE_OPTIONS) if getattr(arguments, name) is not None}
    if from_files:
        if arguments.predictions is None:
            raise UsageError("--labels goes with --predictions only")
        wrong, form = sorted(given & set(_MODEL_OPTIONS)), "MODEL and DATASET"
        if arguments.model is not None:
            raise UsageError("give either MODEL and DATASET, or --predictions and --labels, not both")
        if arguments.allow_seen_patients and arguments.training is None:
            raise UsageError("--allow-seen-patients goes with MODEL and DATASET, or with --training")
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
        from slicewise.evaluation.leakage import shared_with_training
        from slicewise.evaluation.prediction_files import read_predictions
    except ModuleNotFoundError as error:
        raise MissingExtraError("Evaluation", "train") from error
    from slicewise.evaluation.evaluate import evaluate
    from slicewise.task import load_task

    task = load_task(arguments.task or DEFAULT_TASK)
    attributes = read_attributes_of(arguments.attributes)
    table = with_attributes_of(attributes, read_predictions(arguments.predictions, arguments.labels, task))
    leakage = () if arguments.training is None else shared_with_training(table, arguments.training)
    if leakage and not arguments.allow_seen_patients:
        raise UsageError(
            f"{arguments.predictions}: {'; '.join(leakage)}, says {arguments.training}. The figures would be too good. "
            "Leave these out, or, if that is what you want, use --allow-seen-patients"
        )
    compared = "" if arguments.training is None else f"ids were compared with those of {arguments.training.name}"
    metrics = evaluate(
        table,
        task,
        resamples=arguments.resamples,
        seed=arguments.seed,
        room=room_of(arguments),
        leakage=leakage,
        leakage_search=compared,
        progress=progress,
    )
    evaluation = Evaluation(task, {arguments.predictions.name: table}, {arguments.predictions.name: metrics}, {})
    write_evaluation(arguments.output, evaluation, progress=progress)
    print_evaluation(arguments.output, evaluation)


def _evaluate_models(arguments: argparse.Namespace, progress: Progress) -> None:
    try:
        from slicewise.data.store import Dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("Evaluation", "train") from error
    from slicewise.evaluation.evaluate import compare, evaluate
    from slicewise.evaluation.scoring import leakage, leakage_search, predict_dataset, select_records
    from slicewise.inference.detector import Detector

    # What may be wrong with the call is found before hours of scoring.
    attributes, room = read_attributes_of(arguments.attributes), room_of(arguments)
    if attributes is None:
        room.check_load()
    dataset = Dataset.open(arguments.dataset)
    split: Split = arguments.split or "test"
    allowed = bool(arguments.allow_seen_patients)
    models = (arguments.model, *(arguments.compare or ()))
    detectors = _named([Detector.load(model, arguments.runtime or "openvino") for model in models])
    # All models are checked before the first of them works through the dataset.
    for detector in detectors.values():
        records = select_records(detector, dataset, split, allow_seen_patients=allowed)
    evaluation = Evaluation(dataset.task, {}, {}, {})
    first = next(iter(detectors))
    for name, detector in detectors.items():
        table = predict_dataset(detector, dataset, split, allow_seen_patients=allowed, progress=progress)
        table = with_attributes_of(attributes, table)
        manifest = detector.package.manifest
        evaluation.tables[name] = table
        evaluation.metrics[name] = evaluate(
            table,
            dataset.task,
            thresholds=manifest.thresholds,
            study_thresholds=manifest.study_thresholds,
            model={"name": name, "version": manifest.version, "digest": detector.package.digest},
            dataset={"layout": dataset.manifest.layout, "split": split, "digest": dataset.digest()},
            resamples=arguments.resamples,
            seed=arguments.seed,
            room=room,
            leakage=leakage(detector, records),
            leakage_search=leakage_search(detector),
            progress=progress,
        )
        if name != first:
            evaluation.differences[name] = compare(
                evaluation.tables[first],
                table,
                dataset.task,
                resamples=arguments.resamples,
                seed=arguments.seed,
                progress=progress,
            )
    write_evaluation(arguments.output, evaluation, dataset=dataset, progress=progress)
    print_evaluation(arguments.output, evaluation)
    if arguments.submission is not None:
        _submit(arguments.submission, arguments.sample, evaluation.tables[first], dataset.task)


def _named(detectors: Sequence[Detector]) -> dict[str, Detector]:
    """Gives every model a name that is its own and fit for a file."""
    named: dict[str, Detector] = {}
    for detector in detectors:
        name = stem = re.sub(r"[^\w.-]+", "_", detector.package.manifest.name)
        while name in named:
            name = f"{stem}-{len(named) + 1}"
        named[name] = detector
    return named


def _submit(path: Path, sample: Path | None, table: PredictionTable, task: Task) -> None:
    from slicewise.data.rsna import write_submission

    summary = write_submission(path, table.sop_uids, table.probabilities, task, sample=sample)
    print(
        f"Submission: {path} ({summary.rows} rows, {summary.filled} of them without a prediction and filled in, "
        f"{summary.unused} predictions not asked for)"
    )
