"""`slicewise prepare`: images and a label file -> a prepared dataset."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.cli.terminal import INPUT_HELP
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.data.prepare import PreparationSummary

LAYOUTS = ("rsna", "cq500", "bhx", "table")
"""The keys of `slicewise.data.layouts.LAYOUTS`, whose imports `--help` does without; a test holds them together."""

ALL_PREPARED, NOTHING_PREPARED, SOME_UNREADABLE = 0, 1, 3

EPILOG = """\
example:
  slicewise prepare dataset --layout rsna --images stage_2_train --labels stage_2_train.csv --holdout 0.2
  slicewise prepare dataset --layout table --images scans.zip flair/ --labels labels.csv
  slicewise prepare dataset --layout bhx --images cq500 --labels 1_Initial_Manual_Labeling.csv --reads reads.csv

layouts of --labels:
  rsna    ID,Label as in the RSNA 2019 challenge
  cq500   reads.csv of CQ500: labels of studies, by the majority of three readers
  bhx     boxes of BHX on slices of CQ500. A box makes its slice positive; a slice without one is unknown, and negative
          only for what most readers deny for the study (--reads)
  table   series, slice_index, LABEL... or sop_uid, LABEL..., optional patient_id and frame; CSV or Parquet.
          An empty cell is unknown, columns that the task does not name are metadata
masks: SERIES.nii or SERIES.nii.gz with the voxels of the images; bits of the labels but the one that sums up
the others (ich: epidural 1, intraparenchymal 2, intraventricular 4, subarachnoid 8, subdural 16)

Without --labels every label is unknown, as for the test images of the challenge: the dataset can be predicted.

A second call goes on where the first one stopped, and joins labels and masks anew (without --masks there are none). It
needs the same --holdout and --seed: patients stay in train or test, only new ones are dealt.
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
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="form of the label file")
    parser.add_argument(
        "--images", required=True, nargs="+", type=Path, metavar="PATH", help=f"any number of: {INPUT_HELP}"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="label file; without it all labels are unknown")
    parser.add_argument("--reads", type=Path, metavar="FILE", help="reads.csv of CQ500, for --layout bhx")
    parser.add_argument(
        "--masks", type=Path, metavar="DIR", help="masks of findings, SERIES.nii.gz: train where, not only whether"
    )
    parser.add_argument(
        "--series", action="append", default=[], metavar="UID", help="read this series and no other that is not named"
    )
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
    reads: Path | None = arguments.reads
    for option, path in (("--labels", labels), ("--reads", reads)):
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path}: there is no such file")
    masks: Path | None = arguments.masks
    if masks is not None and not masks.is_dir():
        raise UsageError(f"--masks {masks}: there is no such folder")
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
        reads=reads,
        masks=masks,
        series=arguments.series,
        holdout=arguments.holdout,
        workers=arguments.workers,
        seed=arguments.seed,
        progress=terminal_progress(quiet=arguments.quiet),
    )
    print(_describe(summary))
    print(f"Dataset: {arguments.output}")
    if summary.series == 0:
        return NOTHING_PREPARED
    return SOME_UNREADABLE if summary.unreadable else ALL_PREPARED


def _describe(summary: PreparationSummary) -> str:
    patients = ", ".join(f"{count} {split}" for split, count in summary.patients.items())
    width = max(len("label"), *map(len, summary.counts))
    lines = [
        f"series    {summary.series} ({summary.kept} of an earlier call)",
        f"slices    {summary.slices}",
        f"patients  {patients}",
        f"rejected  {summary.unreadable} unreadable, {summary.not_chosen} not chosen (rejected.csv)",
        f"{'label':{width}}  positive  negative   unknown",
    ]
    if summary.masked_series:
        lines.insert(1, f"masks     of {summary.masked_series} series")
    for name, counts in summary.counts.items():
        lines.append(f"{name:{width}}  {counts.positive:8}  {counts.negative:8}  {counts.unknown:8}")
    lines += [f"warning: {item.message}" for item in summary.warnings]
    return "\n".join(lines)
