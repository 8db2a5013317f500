"""Scores the studies of an inventory into a journal, but for those that an interrupted call has scored."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Collection, Iterator

from slicewise.imaging.inventory import Inventory
from slicewise.imaging.series import Series, Study
from slicewise.inference.detector import Detector
from slicewise.inference.journal import Journal
from slicewise.progress import Progress, no_progress


def score_into(
    journal: Journal,
    detector: Detector,
    inventory: Inventory,
    requested: Collection[str] = (),
    progress: Progress = no_progress,
) -> tuple[str, ...]:
    """Scores the studies whose outcome the journal does not hold; each is safe as soon as it is done.

    Args:
        journal: Takes the outcomes.
        detector: The model.
        inventory: The studies.
        requested: Series Instance UIDs to read instead of those that the rules choose.
        progress: Reports the studies.

    Returns:
        The keys of all studies of the inventory, in its order.
    """
    keys: list[str] = []
    waiting: deque[str] = deque()

    def unknown() -> Iterator[Study]:
        for study in inventory.studies():
            keys.append(study_key(study))
            if not _is_final(journal, keys[-1]):
                waiting.append(keys[-1])
                yield study

    outcomes = detector.score(unknown(), requested)
    total, done = inventory.study_count, len(journal)
    for outcome in progress(outcomes, description="Scoring", total=total, unit="study", initial=done):
        journal.add(waiting.popleft(), outcome)
    return tuple(keys)


PASSING = ("not_scored", "unreadable_path", "bad_archive")
"""Reasons that another attempt may not meet again, as a network drive that was away."""


def _is_final(journal: Journal, key: str) -> bool:
    """Tells whether the outcome of a study is known and would be the same again."""
    outcome = journal.get(key)
    return outcome is not None and not any(item.reason in PASSING for item in outcome.rejected)


def study_key(study: Study) -> str:
    """Returns what tells a study from every other one, and from itself once a file of it has changed."""
    facts = [fact for series in study.series for fact in _facts(series)]
    return hashlib.sha256(json.dumps(facts).encode("ascii")).hexdigest()


def _facts(series: Series) -> Iterator[tuple[object, ...]]:
    versions = {header.source.path: _version(header.source.path) for header in series.headers}
    for header in series.headers:
        source = header.source
        yield source.path, source.entry, header.file, header.frame, header.sop_uid, *versions[source.path]
    for item in series.unreadable:
        yield item.path, item.reason


def _version(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - quicker than a Path, for every image
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
