"""`slicewise shift`: how far a site lies from the data of a model, and the model calibrated on labels of that site."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.cli.evaluation import count
from slicewise.cli.terminal import printable
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.data.store import Dataset, SeriesRecord
    from slicewise.evaluation.goals import Goal
    from slicewise.evaluation.local_calibration import LocalCalibration
    from slicewise.evaluation.shift_summary import ShiftReport
    from slicewise.evaluation.site import Site
    from slicewise.inference.detector import Detector
    from slicewise.inference.reference import Reference
    from slicewise.progress import Progress

EPILOG = """\
example:
  slicewise shift runs/fusion new-site --output shift
  slicewise shift runs/fusion new-site --output shift --goal sensitivity=0.95 --recalibrate local.zip
  slicewise predict scans --output results --model local.zip

writes shift.json into --output: how scores and descriptors of DATASET differ from those of the patients that the model
was calibrated on (`reference.json` of the model package; --reference for packages without one), and, where DATASET has
labels, what calibrating the model on them would change, measured on patients who did not set it.

The patients of DATASET that a model of --recalibrate was calibrated on count as seen: they cannot test it any more.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `shift`."""
    parser = subparsers.add_parser(
        "shift",
        help="compare a new site with the data of a model, and calibrate the model there",
        description="Compare the prepared dataset of a new site with the data that a model was calibrated on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="shipped model, model package or run folder")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the new site, made by `slicewise prepare`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for shift.json")
    parser.add_argument(
        "--reference", type=Path, metavar="DATASET", help="compare with the test patients of this dataset instead"
    )
    parser.add_argument("--split", choices=("all", "test"), default="all", help="patients of DATASET (default: all)")
    parser.add_argument("--goal", metavar="GOAL", help="youden (default), sensitivity=X or specificity=X, of studies")
    parser.add_argument("--recalibrate", type=Path, metavar="OUT", help="write the model as calibrated on DATASET")
    parser.add_argument("--runtime", choices=("openvino", "onnxruntime", "torch"), default="openvino", help="engine")
    parser.add_argument("--json", action="store_true", help="print shift.json instead of tables")
    parser.add_argument(
        "--resamples", type=count, default=1000, metavar="N", help="resamples of the patients (default: %(default)s)"
    )
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="seed of resamples and folds (default: 0)")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `shift`."""
    try:
        from slicewise.data.store import Dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("The shift report", "train") from error
    from slicewise.evaluation.goals import parse_goal
    from slicewise.evaluation.site import describe_site, unseen_records
    from slicewise.inference.detector import Detector

    goal = parse_goal(arguments.goal or "youden")
    if arguments.recalibrate is not None and arguments.recalibrate.exists():
        raise UsageError(f"--recalibrate {arguments.recalibrate}: exists. Remove it first or choose another path")
    progress = terminal_progress(quiet=arguments.quiet)
    detector = Detector.load(arguments.model, arguments.runtime)
    dataset = Dataset.open(arguments.dataset)
    records = unseen_records(detector, dataset, arguments.split)
    wanted = _wants_calibration(arguments, records)
    reference = _reference(detector, arguments.reference, {record.patient_id for record in records}, progress)
    site = describe_site(detector, dataset, records, progress=progress)
    measured = _measure(arguments, detector, site, goal) if wanted else None
    report = _report(arguments, detector, site, reference, measured)
    _write(arguments, report, detector)
    if measured is not None and arguments.recalibrate is not None:
        _recalibrate(arguments, detector, dataset, site, measured)
    return 0


def _reference(detector: Detector, path: Path | None, patients: set[str], progress: Progress) -> Reference:
    from slicewise.data.store import Dataset
    from slicewise.evaluation.site import describe_site, unseen_records
    from slicewise.inference.reference import build_reference, read_reference

    if path is None:
        known = read_reference(detector.package)
        if known is None:
            raise UsageError(
                f"The model '{detector.package.manifest.name}' has no reference.json, as packages from before it came. "
                "Give a dataset like its training data, with held-out patients, as --reference DATASET, or train again"
            )
        return known
    dataset = Dataset.open(path)
    if "test" not in dataset.splits.values():
        raise UsageError(f"--reference {path}: holds no test patients. Prepare it with --holdout")
    records = unseen_records(detector, dataset, "test")
    both = sorted(patients & {record.patient_id for record in records})
    if both:
        raise UsageError(
            f"--reference {path}: {len(both)} of its test patients stand in DATASET too. Compare with other patients"
        )
    site = describe_site(detector, dataset, records, progress=progress)
    found = build_reference(site.series, dataset.task.label_names, "the test patients of the dataset of --reference")
    if found is None:
        raise UsageError(f"--reference {path}: holds one test patient. Prepare it with a larger --holdout")
    return found


def _wants_calibration(arguments: argparse.Namespace, records: Sequence[SeriesRecord]) -> bool:
    from slicewise.evaluation.local_calibration import LEAST_PATIENTS, check_enough, labelled_patients

    labelled = labelled_patients(records)
    # Who asks for a calibration is told what is missing, before the work; the report alone does without.
    if arguments.recalibrate is not None or arguments.goal is not None:
        check_enough(labelled)
    return labelled >= LEAST_PATIENTS


def _measure(arguments: argparse.Namespace, detector: Detector, site: Site, goal: Goal) -> LocalCalibration:
    from slicewise.evaluation.local_calibration import measure_local_calibration

    return measure_local_calibration(
        site, detector.package.manifest, goal, resamples=arguments.resamples, seed=arguments.seed
    )


def _report(
    arguments: argparse.Namespace,
    detector: Detector,
    site: Site,
    reference: Reference,
    measured: LocalCalibration | None,
) -> ShiftReport:
    from slicewise.evaluation.shift import compare_with_reference
    from slicewise.evaluation.shift_summary import VERDICTS, ShiftReport, size_warnings, summarise_reference

    manifest = detector.package.manifest
    shift = compare_with_reference(
        site.series,
        reference,
        manifest.task.label_names,
        resamples=arguments.resamples,
        seed=arguments.seed,
    )
    return ShiftReport(
        model={"name": manifest.name, "version": manifest.version, "digest": detector.package.digest},
        reference=summarise_reference(reference),
        n_patients=len(site.patients),
        n_studies=len(site.study_targets),
        n_series=len(site.series),
        n_slices=len(site.logits),
        shift=shift,
        verdict=shift.verdict,
        explanation=VERDICTS[shift.verdict],
        local_calibration=measured,
        resamples=arguments.resamples,
        seed=arguments.seed,
        warnings=size_warnings(reference, len(site.patients)),
    )


def _write(arguments: argparse.Namespace, report: ShiftReport, detector: Detector) -> None:
    import msgspec

    from slicewise.evaluation.shift_summary import summarise_shift
    from slicewise.files import write_bytes_atomically
    from slicewise.results import DISCLAIMER

    content = msgspec.json.format(msgspec.json.encode(report), indent=1)
    path = arguments.output / "shift.json"
    write_bytes_atomically(path, content)
    if arguments.json:
        print(content.decode())
        return
    for line in summarise_shift(report, detector.task).splitlines():
        print(printable(line))
    print(f"Results: {path}")
    print(DISCLAIMER)


def _recalibrate(
    arguments: argparse.Namespace, detector: Detector, dataset: Dataset, site: Site, measured: LocalCalibration
) -> None:
    from slicewise.evaluation.recalibrated import write_recalibrated

    manifest = write_recalibrated(arguments.recalibrate, detector.package, dataset, site, measured)
    if not arguments.json:
        print(f"Model: {arguments.recalibrate}  {manifest.name} version {manifest.version}")
