"""How a model package remembers what its model has seen: patients, studies and the pixels of series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

SCRYPT_COST, SCRYPT_BLOCK = 1 << 10, 8
"""Work of one `hash_patient`: 1 MiB of memory and about 3 ms, so that 20,000 patients take about a minute."""

DIGITS = 12
"""Hexadecimal digits that are kept of a series or a study."""


class SeenPatients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The patients of one dataset that a model has seen, for `ModelPackage.has_seen`.

    Attributes:
        salt: Salt of the hashes.
        hashes: `hash_patient` of every patient, sorted.
    """

    salt: str
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, patient_ids: Iterable[str], dataset_digest: str) -> SeenPatients:
        """Hashes patients with the salt of their dataset: the same dataset gives the same hashes."""
        salt = hashlib.sha256(f"slicewise-patients:{dataset_digest}".encode()).hexdigest()[:32]
        return cls(salt=salt, hashes=tuple(sorted({hash_patient(patient, salt) for patient in patient_ids})))


class SeenContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The series and studies of one dataset that a model has seen, whatever the patients are called.

    One image under two patient IDs is a leak that patient IDs do not show. `DIGITS` hexadecimal digits of each are
    kept: 48 bits, so that two sets of 10,000 share one by chance in less than one case of a million.

    Attributes:
        salt: Salt of the hashes of the studies.
        series: First digits of `SeriesRecord.values_digest` of every series, sorted.
        studies: `hash_study` of every study, sorted.
    """

    salt: str
    series: tuple[str, ...]
    studies: tuple[str, ...]

    @classmethod
    def of(cls, values_digests: Iterable[str], study_uids: Iterable[str], dataset_digest: str) -> SeenContent:
        """Keeps the digests of series, and hashes studies with the salt of their dataset; empty ones are left out."""
        salt = hashlib.sha256(f"slicewise-studies:{dataset_digest}".encode()).hexdigest()[:32]
        series = {digest[:DIGITS] for digest in values_digests if digest}
        studies = {hash_study(study, salt) for study in study_uids if study}
        return cls(salt=salt, series=tuple(sorted(series)), studies=tuple(sorted(studies)))


def merge_patients(groups: Iterable[SeenPatients]) -> tuple[SeenPatients, ...]:
    """Puts groups with one salt together and sorts by salt."""
    merged: dict[str, set[str]] = {}
    for group in groups:
        merged.setdefault(group.salt, set()).update(group.hashes)
    return tuple(SeenPatients(salt, tuple(sorted(merged[salt]))) for salt in sorted(merged))


def merge_content(groups: Iterable[SeenContent]) -> tuple[SeenContent, ...]:
    """Puts groups with one salt together and sorts by salt."""
    merged: dict[str, tuple[set[str], set[str]]] = {}
    for group in groups:
        series, studies = merged.setdefault(group.salt, (set(), set()))
        series.update(group.series)
        studies.update(group.studies)
    return tuple(SeenContent(salt, *(tuple(sorted(kind)) for kind in merged[salt])) for salt in sorted(merged))


def hash_study(study_uid: str, salt: str) -> str:
    """Returns the hash under which a package remembers a study: the first `DIGITS` digits of a salted SHA-256.

    It is quick, unlike `hash_patient`: a Study Instance UID is long and, made as the standard says, cannot be guessed.

    Args:
        study_uid: Study Instance UID.
        salt: `SeenContent.salt`.
    """
    content = study_uid.encode("utf-8", errors="backslashreplace")
    return hashlib.sha256(salt.encode() + content).hexdigest()[:DIGITS]


@lru_cache(maxsize=1 << 16)
def hash_patient(patient_id: str, salt: str) -> str:
    """Returns the hash under which a package remembers a patient: 16 hexadecimal digits of scrypt (RFC 7914).

    The salt makes tables worked out in advance useless, the cost makes guessing slow. It is no anonymisation: who
    holds a package can still test whether a known patient ID is among its patients, and can try all hospital numbers
    of a known pattern, a million in about an hour on one core. Patient IDs of a package that is given away should be
    pseudonyms that cannot be guessed.

    Args:
        patient_id: Patient ID.
        salt: `SeenPatients.salt`.
    """
    # An ID that was read from undecodable bytes may hold lone surrogates.
    content = patient_id.encode("utf-8", errors="backslashreplace")
    return hashlib.scrypt(content, salt=salt.encode(), n=SCRYPT_COST, r=SCRYPT_BLOCK, p=1, dklen=8).hex()
