"""`slicewise prepare`: images and a label file -> a prepared dataset."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.data.prepare import PreparationSummary

ALL_PREPARED, NOTHING_PREPARED, SOME_UNREADABLE = 0, 1, 3

EPILOG = """\
example:
  slicewise prepare dataset --layout rsna --images stage_2_train --labels stage_2_train.csv --holdout 0.2
  slicewise prepare dataset --layout table --images scans --labels labels.csv

layouts of --labels:
  rsna    ID,Label as in the RSNA 2019 challenge
  table   series, slice_index, LABEL... or sop_uid, LABEL..., optional patient_id and frame; CSV or Parquet.
          An empty cell is unknown, columns that the task does not name are metadata

A second call goes on where the first one stopped, and joins the labels anew. It needs the same --holdout and
--seed: patients stay in train or test, only new ones are dealt.
exit code: 0 all was prepared that should be, 3 some input was unreadable (the rest was prepared),
1 nothing could be prepared, 2 the call is wrong
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `prepare`."""
    parser = subparsers.add_parser(
        "prepare",
        help="make a dataset from images and labels",
        description="Read, preprocess and store series with their labels, ready for training and evaluation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder of the dataset")
    parser.add_argument("--layout", required=True, choices=("rsna", "table"), help="form of the label file")
    parser.add_argument("--images", required=True, nargs="+", type=Path, metavar="PATH", help="DICOM files and folders")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="label file; without it all labels are unknown")
    parser.add_argument(
        "--task", default=DEFAULT_TASK, metavar="NAME|FILE", help="labels and preprocessing (default: %(default)s)"
    )
    parser.add_argument(
        "--holdout", type=float, default=0.0, metavar="SHARE", help="share of the patients kept for testing (0.0)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the split (0)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `prepare`."""
    labels: Path | None = arguments.labels
    if labels is not None and not labels.is_file():
        raise UsageError(f"--labels {labels}: there is no such file")
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: expected at least 1")
    try:
        from slicewise.data.prepare import prepare
    except ModuleNotFoundError as error:
        raise MissingExtraError("slicewise prepare", "train") from error
    from slicewise.task import load_task

    summary = prepare(
        arguments.output,
        arguments.layout,
        arguments.images,
        labels,
        load_task(arguments.task),
        holdout=arguments.holdout,
        workers=arguments.workers,
        seed=arguments.seed,
        progress=terminal_progress(quiet=arguments.quiet),
    )
    print(_describe(summary))
    print(f"Dataset: {arguments.output}")
    if summary.series == 0:
        return NOTHING_PREPARED
    return SOME_UNREADABLE if _unreadable(summary) else ALL_PREPARED


def _unreadable(summary: PreparationSummary) -> int:
    return sum(item.kind == "unreadable" for item in summary.rejected)


def _describe(summary: PreparationSummary) -> str:
    unreadable = _unreadable(summary)
    patients = ", ".join(f"{count} {split}" for split, count in summary.patients.items())
    width = max(len("label"), *map(len, summary.counts))
    lines = [
        f"series    {summary.series} ({summary.kept} of an earlier call)",
        f"slices    {summary.slices}",
        f"patients  {patients}",
        f"rejected  {unreadable} unreadable, {len(summary.rejected) - unreadable} not chosen (rejected.csv)",
        f"{'label':{width}}  positive  negative   unknown",
    ]
    for name, counts in summary.counts.items():
        lines.append(f"{name:{width}}  {counts.positive:8}  {counts.negative:8}  {counts.unknown:8}")
    lines += [f"warning: {item.message}" for item in summary.warnings]
    return "\n".join(lines)
