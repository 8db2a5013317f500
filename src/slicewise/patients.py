"""How a model package remembers the patients that its model has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

SCRYPT_COST, SCRYPT_BLOCK = 1 << 10, 8
"""Work of one `hash_patient`: 1 MiB of memory and about 3 ms, so that 20,000 patients take about a minute."""


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
