"""`slicewise predict`: scans -> slice-level probabilities, tables and a report."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.cli.terminal import INPUT_HELP, printable
from slicewise.errors import UsageError
from slicewise.text import aligned

if TYPE_CHECKING:
    from slicewise.progress import Progress
    from slicewise.results import Rejection, Results
    from slicewise.task import Task

ALL_SCORED, NOTHING_SCORED, SOME_UNREADABLE = 0, 1, 3
FORMATS = ("csv", "json", "html")
IDENTITY_FORMATS = ("dicom", "fhir")
"""Formats whose objects copy the identity of the patient, so that archives can file them."""

_FILES = {
    "csv": ("slices.csv", "series.csv", "studies.csv", "rejected.csv"),
    "json": ("results.json",),
    "html": ("report.html",),
}

EPILOG = """\
example:
  slicewise predict scans/ --output results
  slicewise predict scans.zip --output results --model runs/mine --formats csv,json
  slicewise predict scans/ --output results --anonymous --anonymous-key secret.key

writes into --output:
  slices.csv series.csv studies.csv rejected.csv (csv), results.json (json), report.html (html)

--anonymous leaves patient ids, UIDs, file names and descriptions out of every output: ids become keyed hashes.
The pictures of the report stay as they are, with whatever text is burned into them.

exit code: 0 all was scored that should be, 3 some input was unreadable (the rest was scored),
1 nothing could be scored, 2 the call is wrong
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="score scans slice by slice",
        description="Score every slice of every suitable series. Research software, not for diagnosis.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help=INPUT_HELP)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--model", metavar="MODEL", help="shipped model, model package or run folder")
    parser.add_argument("--runtime", choices=("openvino", "onnxruntime", "torch"), default="openvino")
    parser.add_argument("--formats", default=",".join(FORMATS), help="what to write (default: %(default)s)")
    parser.add_argument(
        "--series", action="append", default=[], metavar="UID", help="read this series whatever the rules say"
    )
    parser.add_argument(
        "--anonymous", action="store_true", help="replace ids by keyed hashes and leave file names out, in every output"
    )
    parser.add_argument(
        "--anonymous-key",
        type=Path,
        metavar="FILE",
        help="secret key of the hashes, made if missing, so that calls agree (default: a random key, kept nowhere)",
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `predict`."""
    formats = _formats(arguments.formats, anonymous=arguments.anonymous)
    _check_inputs(arguments.inputs)
    key = _key(arguments, formats)
    progress = terminal_progress(quiet=arguments.quiet)
    # Before the model is loaded: a blocked output is told at once, not after everything was scored.
    with _output_folder(arguments.output):
        results, task = _predict(arguments, progress)
        if key is not None:
            results = _anonymous(results, key)
        _write(arguments.output, results, task, formats, progress)
    print(_table(results))
    print(f"{_summary(results)} Results: {arguments.output}")
    print(results.disclaimer)
    if not results.studies:
        return NOTHING_SCORED
    return SOME_UNREADABLE if any(item.kind == "unreadable" for item in results.rejected) else ALL_SCORED


def _formats(text: str, *, anonymous: bool) -> tuple[str, ...]:
    formats = tuple(item.strip() for item in text.split(",") if item.strip())
    copying = [item for item in formats if item in IDENTITY_FORMATS]
    if anonymous and copying:
        raise UsageError(
            f"--formats {text}: {copying[0]} copies the identity of the patient, which --anonymous leaves out. "
            f"Choose one of the two, or among {', '.join(FORMATS)}"
        )
    unknown = [item for item in formats if item not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"--formats {text}: expected a list of {', '.join(FORMATS)}")
    return formats


def _check_inputs(inputs: Sequence[Path]) -> None:
    from slicewise.imaging.walk import check_inputs

    check_inputs(inputs)


def _key(arguments: argparse.Namespace, formats: Collection[str]) -> bytes | None:
    """Returns the key of the hashes, None without --anonymous."""
    path: Path | None = arguments.anonymous_key
    if not arguments.anonymous:
        if path is not None:
            raise UsageError(f"--anonymous-key {path}: has no use without --anonymous. Add it, or leave the key out")
        return None
    from slicewise.reporting.anonymous import load_or_make_key, random_key

    _refuse_named_results(arguments.output, formats)
    if path is None:
        return random_key()
    if path.resolve().is_relative_to(arguments.output.resolve()):
        raise UsageError(
            f"--anonymous-key {path}: lies in --output, and who has it can tell whose results these are. Choose a file "
            "elsewhere"
        )
    return load_or_make_key(path)


def _refuse_named_results(output: Path, formats: Collection[str]) -> None:
    """Refuses a folder where files of another call, which may name patients, would stay beside anonymous ones."""
    others = [name for item, names in _FILES.items() if item not in formats for name in names]
    staying = [name for name in others if (output / name).exists()]
    if staying:
        raise UsageError(
            f"--output {output}: {staying[0]} of another call lies there and may name patients. Choose another folder "
            "for --anonymous, or remove it"
        )


@contextlib.contextmanager
def _output_folder(path: Path) -> Iterator[None]:
    """Makes the folder and tries to write in it; if the block fails, removes what was made, as far as it is empty."""
    made: list[Path] = []
    try:
        try:
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise UsageError(
                f"--output {path}: cannot be written: {error.strerror}. Choose a folder that can be made and written in"
            ) from error
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _predict(arguments: argparse.Namespace, progress: Progress) -> tuple[Results, Task]:
    from slicewise import __version__
    from slicewise.inference.detector import Detector
    from slicewise.package import DEFAULT_MODEL
    from slicewise.results import Results

    detector = Detector.load(arguments.model or DEFAULT_MODEL, arguments.runtime)
    rejected: list[Rejection] = []
    studies = tuple(
        detector.predict(arguments.inputs, series=arguments.series, on_rejected=rejected.append, progress=progress)
    )
    rejected.sort(key=lambda item: (item.path, item.series_uid, item.kind, item.reason, item.message))
    return Results(detector.summary, studies, tuple(rejected), __version__), detector.task


def _anonymous(results: Results, key: bytes) -> Results:
    from slicewise.reporting.anonymous import anonymous_results

    return anonymous_results(results, key)


def _write(output: Path, results: Results, task: Task, formats: Collection[str], progress: Progress) -> None:
    from slicewise import results as writers
    from slicewise.files import write_bytes_atomically

    labels = results.model.labels
    if "csv" in formats:
        writers.write_slices_csv(output / "slices.csv", results.studies, labels)
        writers.write_series_csv(output / "series.csv", results.studies, labels)
        writers.write_studies_csv(output / "studies.csv", results.studies, labels)
        writers.write_rejected_csv(output / "rejected.csv", results.rejected)
    if "json" in formats:
        write_bytes_atomically(output / "results.json", writers.encode_results(results))
    if "html" in formats:
        from slicewise.reporting.html import write_report

        write_report(output / "report.html", results, task, progress)


def _table(results: Results) -> str:
    model = results.model
    rows = [("study", "slices", *model.labels, "flagged slices")]
    for study in results.studies:
        slices = [item for series in study.series for item in series.slices]
        flagged = sum(bool(model.flagged(item.probabilities)) for item in slices)
        probabilities = (f"{study.probabilities[name]:.3f}" for name in model.labels)
        rows.append((printable(study.study_uid[-24:]), str(len(slices)), *probabilities, str(flagged)))
    return aligned(rows, left=1)


def _summary(results: Results) -> str:
    unreadable = sum(item.kind == "unreadable" for item in results.rejected)
    not_chosen = len(results.rejected) - unreadable
    scored = f"{len(results.studies)} {'study' if len(results.studies) == 1 else 'studies'} scored"
    return f"{scored}, {unreadable} unreadable, {not_chosen} not chosen."
