"""`slicewise predict`: scans -> slice-level probabilities, tables and a report."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.cli.predict_archive import tell_refusals
from slicewise.cli.predict_checks import check_resume, chosen_formats, hash_key
from slicewise.cli.predict_outputs import DEFAULT_FORMATS, FORMATS, results_table, summary, unlike_note, write_outputs
from slicewise.cli.predict_resume import call_journal, score_call
from slicewise.cli.terminal import INPUT_HELP
from slicewise.errors import UsageError

if TYPE_CHECKING:
    from slicewise.inference.model_cache import ModelCache
    from slicewise.inference.timing import Timings
    from slicewise.progress import Progress
    from slicewise.results import Results, StudyResult

ALL_SCORED, NOTHING_SCORED, SOME_UNREADABLE = 0, 1, 3
PROFILE = "profile.json"

EPILOG = """\
example:
  slicewise predict scans/ --output results
  slicewise predict scans.zip --output results --model runs/mine --formats csv,json
  slicewise predict scans/ --output results --anonymous --anonymous-key secret.key
  slicewise predict scans/ --output results --formats csv,sr,kos,sc,fhir
  slicewise predict archive/ --output results --formats csv,json --resume

writes into --output:
  slices.csv series.csv studies.csv rejected.csv (csv), results.json (json), report.html report/ (html)
  dicom/STUDY/: a structured report (sr), key objects (kos), secondary captures (sc); fhir/STUDY.json (fhir)

Every study is kept on the disk as soon as it is scored. After an interruption the same call with --resume goes on;
without it, it starts over. With csv and json alone, memory does not grow with the number of studies.

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
    parser.add_argument(
        "--precision",
        choices=("auto", "f32", "bf16"),
        default="f32",
        help="what stage 1 computes in; auto measures at the first use on this processor (default: %(default)s)",
    )
    parser.add_argument(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        metavar="LIST",
        help=f"what to write, of {', '.join(FORMATS)} (default: %(default)s)",
    )
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
    parser.add_argument(
        "--resume", action="store_true", help="go on where an interrupted call with these options stopped"
    )
    parser.add_argument(
        "--profile", action="store_true", help=f"tell on stderr and in {PROFILE} where the time went, step by step"
    )
    parser.add_argument(
        "--no-model-cache",
        action="store_true",
        help="compile the networks anew and keep none (default: kept in the user's cache folder)",
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `predict`."""
    from slicewise.inference.timing import Timings

    timings = Timings()
    formats = chosen_formats(arguments.formats, anonymous=arguments.anonymous)
    check_resume(arguments)
    progress = terminal_progress(quiet=arguments.quiet)
    # Before the model is loaded: a blocked output is told at once, not after everything was scored.
    with _output_folder(arguments.output):
        return _run(arguments, formats, progress, timings)


def _run(arguments: argparse.Namespace, formats: Collection[str], progress: Progress, timings: Timings) -> int:
    with timings("imports"):
        from slicewise.inference.runtime import engine_facts
        from slicewise.inference.startup import runtime_beside
        from slicewise.package import DEFAULT_MODEL, load_package
    with timings("reading the model"):
        package = load_package(arguments.model or DEFAULT_MODEL)
    with runtime_beside(arguments.runtime, package, _cache(arguments), timings, arguments.precision) as runtime:
        with timings("imports"):
            from slicewise.imaging.inventory import take_inventory
            from slicewise.imaging.walk import check_inputs
            from slicewise.inference.detector import Detector, check_requested
        check_inputs(arguments.inputs)
        key = hash_key(arguments, formats)
        with timings("reading headers"):
            modality = package.manifest.task.series.modality
            inventory = take_inventory(arguments.inputs, progress, modality=modality)
        with inventory:
            check_requested(arguments.series, inventory)
            with timings("waiting for the networks"):
                detector = Detector(package, runtime(), timings, evidence_maps="html" in formats)
            with call_journal(arguments, detector) as journal:
                results, studies = score_call(arguments, detector, inventory, journal, progress)
                if key is not None:
                    results = _anonymous(results, studies, key)
                    studies = results.studies
                refused = write_outputs(
                    arguments.output,
                    results,
                    studies,
                    task=detector.task,
                    formats=formats,
                    progress=progress,
                    timer=timings,
                )
                table, scored = results_table(results, studies)
                unlike = unlike_note(studies)
    print(table)
    if unlike:
        print(unlike)
    print(f"{summary(results, scored)} Results: {arguments.output}")
    print(results.disclaimer)
    tell_refusals(refused)
    if arguments.profile:
        _tell_profile(arguments.output, timings, engine_facts(detector.runtime))
    if not scored:
        return NOTHING_SCORED
    is_incomplete = refused or any(item.kind == "unreadable" for item in results.rejected)
    return SOME_UNREADABLE if is_incomplete else ALL_SCORED


def _cache(arguments: argparse.Namespace) -> ModelCache | None:
    from slicewise.inference.model_cache import ModelCache, user_cache_folder

    folder = None if arguments.no_model_cache else user_cache_folder()
    return None if folder is None else ModelCache(folder)


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


def _anonymous(results: Results, studies: Iterable[StudyResult], key: bytes) -> Results:
    from msgspec.structs import replace

    from slicewise.reporting.anonymous import anonymous_results

    return anonymous_results(replace(results, studies=tuple(studies)), key)


def _tell_profile(output: Path, timings: Timings, engine: dict[str, str]) -> None:
    import msgspec

    from slicewise.files import write_bytes_atomically

    profile = timings.profile(engine)
    print(profile.table(), file=sys.stderr)
    write_bytes_atomically(output / PROFILE, msgspec.json.format(msgspec.json.encode(profile), indent=1))
