"""`slicewise protocol`: from the files of a public dataset to evidence, in one call that others can repeat."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.cli.evaluation import (
    Evaluation,
    add_room_options,
    count,
    print_evaluation,
    room_of,
    write_evaluation,
    write_json,
)
from slicewise.cli.terminal import INPUT_HELP, printable
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.evaluation.protocols import ProtocolOutcome
    from slicewise.progress import Progress

PROTOCOLS = ("rsna", "cq500", "bhx")
"""The keys of `slicewise.evaluation.published.SYSTEMS`, whose imports `--help` does without."""

ALL_READ, SOME_UNREADABLE = 0, 3

EPILOG = """\
example:
  slicewise protocol rsna runs/mine --images stage_2_train --labels stage_2_train.csv --output evidence
  slicewise protocol cq500 runs/mine --images cq500 --labels reads.csv --output evidence
  slicewise protocol bhx runs/mine --images cq500 --labels boxes.csv --reads reads.csv --output evidence

protocols:
  rsna    slices of patients held out of the challenge's training files (--holdout, --seed); patients that the model
          was trained on are refused
  cq500   studies by the majority of three readers; the score of a study is the highest of its slices
  bhx     slices of CQ500: positive with a box, negative for what most readers deny for their study

writes into --output:
  report.html        all of it to read, with figures; figures/ as PNG and SVG
  metrics.json       every metric with its 95 % interval (patients resampled)
  predictions.csv    every slice with its probabilities, labels and attributes
  protocol.json      what was done, what was left out and why, how far readers agree, published figures beside ours
  series_used.csv    which series were read; another call reads the same with --series-manifest
  dataset/           the prepared dataset: a later call goes on with it

exit code: 0 all was read that should be, 3 some input was unreadable (the rest was scored),
1 nothing could be scored, 2 the call is wrong
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `protocol`."""
    parser = subparsers.add_parser(
        "protocol",
        help="evaluate a model on a public dataset, from its files",
        description="Prepare a public dataset, score it, measure, and stand the figures beside published ones.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("protocol", choices=PROTOCOLS, metavar="{rsna,cq500,bhx}", help="what is measured, see below")
    parser.add_argument("model", metavar="MODEL", help="shipped model, model package or run folder")
    parser.add_argument(
        "--images", required=True, nargs="+", type=Path, metavar="PATH", help=f"any number of: {INPUT_HELP}"
    )
    parser.add_argument(
        "--labels", required=True, type=Path, metavar="FILE", help="ID,Label (rsna), reads.csv (cq500), boxes (bhx)"
    )
    parser.add_argument("--reads", type=Path, metavar="FILE", help="reads.csv of CQ500, for bhx")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder for everything that comes out"
    )
    parser.add_argument("--holdout", type=float, metavar="SHARE", help="share of the patients to score, for rsna (0.2)")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="seed of the split and the resamples (0)")
    parser.add_argument(
        "--series-manifest", type=Path, metavar="FILE", help="read exactly the series of this series_used.csv"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    parser.add_argument("--runtime", choices=("openvino", "onnxruntime", "torch"), default="openvino")
    add_room_options(parser)
    parser.add_argument(
        "--resamples", type=count, default=1000, metavar="N", help="resamples of the patients (default: %(default)s)"
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `protocol`."""
    _check_call(arguments)
    try:
        from slicewise.evaluation.protocols import run_protocol
    except ModuleNotFoundError as error:
        raise MissingExtraError("slicewise protocol", "train") from error
    from slicewise.evaluation.protocol_call import ProtocolCall
    from slicewise.inference.detector import Detector

    call = ProtocolCall(
        protocol=arguments.protocol,
        images=arguments.images,
        labels=arguments.labels,
        output=arguments.output,
        reads=arguments.reads,
        holdout=arguments.holdout,
        seed=arguments.seed,
        series_list=arguments.series_manifest,
        workers=arguments.workers,
        resamples=arguments.resamples,
        room=room_of(arguments),
    )
    call.check()
    call.room.check_load()
    progress = terminal_progress(quiet=arguments.quiet)
    outcome = run_protocol(call, Detector.load(arguments.model, arguments.runtime), progress)
    name = outcome.report.model["name"]
    evaluation = Evaluation(outcome.dataset.task, {name: outcome.table}, {name: outcome.metrics}, {})
    _write(arguments.output, outcome, evaluation, progress)
    _print(arguments.output, outcome, evaluation)
    return SOME_UNREADABLE if outcome.unreadable else ALL_READ


def _check_call(arguments: argparse.Namespace) -> None:
    for option, path in (("--labels", arguments.labels), ("--reads", arguments.reads)):
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path}: there is no such file")
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: expected at least 1")


def _write(output: Path, outcome: ProtocolOutcome, evaluation: Evaluation, progress: Progress) -> None:
    """Writes all files but the dataset, which `run_protocol` has prepared."""
    from slicewise.evaluation.series_used import SERIES_USED, write_series_used

    write_json(output / "protocol.json", outcome.report)
    write_series_used(output / SERIES_USED, outcome.dataset, outcome.records)
    write_evaluation(output, evaluation, dataset=outcome.dataset, progress=progress)


def _print(output: Path, outcome: ProtocolOutcome, evaluation: Evaluation) -> None:
    from slicewise.evaluation.protocol_report import report_text

    for line in report_text(outcome.report, evaluation.task).splitlines():
        print(printable(line))
    print()
    print_evaluation(output, evaluation)
