"""Scores the studies of a call of `slicewise predict` so that an interrupted call can go on."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from slicewise.cli.predict_checks import PARTIAL

if TYPE_CHECKING:
    from slicewise.imaging.inventory import Inventory
    from slicewise.inference.detector import Detector
    from slicewise.inference.journal import Journal
    from slicewise.progress import Progress
    from slicewise.results import Rejection, Results, StudyResult


@contextlib.contextmanager
def call_journal(arguments: argparse.Namespace, detector: Detector) -> Iterator[Journal]:
    """Opens the journal of a call; if the call does not end, tells how to go on."""
    from slicewise import __version__
    from slicewise.inference.journal import Call, Journal
    from slicewise.inference.runtime import engine_facts

    call = Call(
        inputs=tuple(str(path.resolve()) for path in arguments.inputs),
        series=tuple(sorted(arguments.series)),
        model=detector.package.digest,
        runtime=detector.runtime.name,
        software_version=__version__,
        precision=engine_facts(detector.runtime)["precision"],
        evidence_maps=detector.evidence_maps,
    )
    # What names patients must not stay beside anonymous results, whatever happens to the process.
    path = None if arguments.anonymous else arguments.output / PARTIAL
    with Journal(path, call, resume=arguments.resume) as journal:
        try:
            yield journal
        except BaseException:
            if path is not None and len(journal):
                print(
                    f"slicewise: stopped. Studies done: {len(journal)}. The same call with --resume goes on.",
                    file=sys.stderr,
                )
            raise


def score_call(
    arguments: argparse.Namespace, detector: Detector, inventory: Inventory, journal: Journal, progress: Progress
) -> tuple[Results, Iterable[StudyResult]]:
    """Returns the results but for the studies, and the studies, which are read from the journal."""
    from slicewise import __version__
    from slicewise.inference.journal import KeptStudies
    from slicewise.inference.resumable import score_into
    from slicewise.results import Results

    keys = score_into(journal, detector, inventory, arguments.series, progress)
    rejected: list[Rejection] = list(inventory.rejections())
    for outcome in journal.outcomes(keys):
        rejected += outcome.rejected
    rejected.sort(key=lambda item: (item.path, item.series_uid, item.kind, item.reason, item.message))
    return Results(detector.summary, (), tuple(rejected), __version__), KeptStudies(journal, keys)
