"""Results without identity: ids become keyed hashes, file names and texts that may hold either are left out.

Every writer draws from the `Results`, so what is replaced here is replaced in every output. Probabilities, positions
and warnings stay as they are: no warning about a scan quotes a header or a file name. So do the pixels that the report
shows; what a scanner has burned into them stays.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from msgspec.structs import replace

from slicewise.errors import UsageError
from slicewise.imaging.reasons import REASONS
from slicewise.results import Rejection, Results, SeriesResult, SliceResult, StudyResult

HASH_DIGITS = 32
"""Hexadecimal digits of a hash: 128 bits, so that no two ids of any archive share one."""

SHORTEST_KEY_BYTES, LONGEST_KEY_BYTES = 32, 4096
"""Length of a secret key. The shortest is the output length of SHA-256, as RFC 2104, section 3, advises."""

_DOMAIN = b"slicewise anonymous id"
_KEY_MODE = stat.S_IRUSR | stat.S_IWUSR


def random_key() -> bytes:
    """Returns a new key. Whoever keeps it nowhere makes sure that nobody can link hashes back, or across calls."""
    return secrets.token_bytes(SHORTEST_KEY_BYTES)


def load_or_make_key(path: Path) -> bytes:
    """Returns the secret key in a file, every byte of it; makes the file, for its owner only, where there is none.

    Raises:
        UsageError: If the file cannot be read or made, or holds no usable key.
    """
    try:
        key = _new_key_file(path)
    except FileExistsError:
        key = _read_key(path)
    except OSError as error:
        raise UsageError(f"--anonymous-key {path}: cannot be made: {error.strerror}. Choose another file") from error
    if not SHORTEST_KEY_BYTES <= len(key) <= LONGEST_KEY_BYTES:
        found = len(key) if len(key) <= LONGEST_KEY_BYTES else "more"
        raise UsageError(
            f"--anonymous-key {path}: expected a key of {SHORTEST_KEY_BYTES} to {LONGEST_KEY_BYTES} bytes, found "
            f"{found}. Name a file that is not there yet, and one is made"
        )
    return key


def anonymous_results(results: Results, key: bytes) -> Results:
    """Returns results without identity.

    Patient ids and UIDs become hashes, empty ones stay empty; equal ids have equal hashes. File names are left out,
    and the message of what was not scored is the meaning of its reason. Studies, their series and what was not scored
    are put into the order of their hashes, since the order of file names tells something about them.

    Args:
        results: What was found.
        key: Secret: whoever has it can tell whether a hash belongs to an id.
    """
    hashes = _Hashes(key)
    studies = (_study(study, hashes) for study in results.studies)
    rejected = (_rejection(item, hashes) for item in results.rejected)
    return replace(
        results,
        studies=tuple(
            sorted(studies, key=lambda study: (study.patient_id, study.study_uid, study.series[0].series_uid))
        ),
        rejected=tuple(sorted(rejected, key=lambda item: (item.kind, item.reason, item.series_uid))),
        anonymous=True,
    )


class _Hashes:
    """HMAC-SHA-256 (RFC 2104) of ids. The kind is part of the message: one text as two kinds of id has two hashes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient_id(self, value: str) -> str:
        return self._hash("patient_id", value)

    def study_uid(self, value: str) -> str:
        return self._hash("study_uid", value)

    def series_uid(self, value: str) -> str:
        return self._hash("series_uid", value)

    def sop_uid(self, value: str) -> str:
        return self._hash("sop_uid", value)

    def _hash(self, kind: str, value: str) -> str:
        if not value:
            return ""
        message = b"\0".join((_DOMAIN, kind.encode("ascii"), value.encode("utf-8", "surrogatepass")))
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:HASH_DIGITS]


def _study(study: StudyResult, hashes: _Hashes) -> StudyResult:
    series = (_series(item, hashes) for item in study.series)
    return replace(
        study,
        patient_id=hashes.patient_id(study.patient_id),
        study_uid=hashes.study_uid(study.study_uid),
        series=tuple(sorted(series, key=lambda item: item.series_uid)),
        sources={hashes.sop_uid(sop_uid): source for sop_uid, source in study.sources.items()},
    )


def _series(series: SeriesResult, hashes: _Hashes) -> SeriesResult:
    return replace(
        series,
        patient_id=hashes.patient_id(series.patient_id),
        study_uid=hashes.study_uid(series.study_uid),
        series_uid=hashes.series_uid(series.series_uid),
        slices=tuple(_slice(item, hashes) for item in series.slices),
    )


def _slice(item: SliceResult, hashes: _Hashes) -> SliceResult:
    return replace(item, sop_uid=hashes.sop_uid(item.sop_uid), file="")


def _rejection(item: Rejection, hashes: _Hashes) -> Rejection:
    return replace(item, path="", message=REASONS.get(item.reason, ""), series_uid=hashes.series_uid(item.series_uid))


def _new_key_file(path: Path) -> bytes:
    """Makes a file with a new key, readable by nobody else from the first moment on."""
    key = random_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key)
    except OSError:  # as on a full disk
        path.unlink(missing_ok=True)
        raise
    return key


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(LONGEST_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--anonymous-key {path}: cannot be read: {error.strerror}. Choose another file") from error
