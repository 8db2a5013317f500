"""The folder trees and names of phantom data sets: a clinic's export, the RSNA 2019 challenge, CQ500.

clinical  OUT/dicom/<patient>/<study>/<series>/IM0001.dcm       in no helpful file order
rsna      OUT/stage_2_train/ID_<9 hex>.dcm                      flat
cq500     OUT/cq500/CQ500CT1000 CQ500CT1000/Unknown Study/<series>/CT000000.dcm
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from slicewise.files import write_atomically
from slicewise.phantom import dicom
from slicewise.phantom.companions import BONE, DOSE, LOCALIZER, THIN
from slicewise.phantom.study import PhantomStudy
from slicewise.phantom.tables import StudyNames

CLINICAL, RSNA, CQ500 = "clinical", "rsna", "cq500"
LAYOUTS = (CLINICAL, RSNA, CQ500)
IMAGES = {CLINICAL: "dicom", RSNA: "stage_2_train", CQ500: "cq500"}
"""Folder of the images of every layout."""

FIRST_CQ500_SCAN = 1000
"""Phantoms count from here: CQ500 itself ends at 490, and some of its scans are known for their defects."""

_ID_BITS, _SLICES_A_STUDY = 36, 1024
_CQ500_PLAIN = ("CT Plain", "CT PLAIN", "CT 5mm", "CT Head", "CT Routine Head", "CT 5mm Plain")
_CQ500_THIN = ("CT PLAIN THIN", "CT Thin Plain", "CT 0.625mm", "CT Plain THIN", "CT 1mm")
_CQ500_OTHER = {
    BONE: ("BONE", "CT BONE", "CT Bone 2"),
    LOCALIZER: ("CT SCOUT",),
    DOSE: ("CT Dose Report",),
    THIN: _CQ500_THIN,
}
_THIN_MM = 2.0


def names_of(study: PhantomStudy, seed: int, patient: int, layout: str) -> StudyNames:
    """Returns what a study is called.

    Args:
        study: The study.
        seed: Seed of the data set.
        patient: Index of the patient's first study.
        layout: "clinical" keeps the valid UIDs of the volume, "rsna" has the short names of the challenge, "cq500" one
            name a scan.
    """
    volume = study.volume
    if layout == RSNA:
        first = study.index * _SLICES_A_STUDY
        return StudyNames(
            rsna_id(seed, "patient", patient),
            rsna_id(seed, "study", study.index),
            rsna_id(seed, "series", study.index),
            tuple(rsna_id(seed, "slice", first + number) for number in range(len(volume.slices))),
        )
    name = f"CQ500-CT-{FIRST_CQ500_SCAN + study.index}" if layout == CQ500 else volume.patient_id
    return StudyNames(name, volume.study_uid, volume.series_uid, tuple(item.sop_uid for item in volume.slices))


def rsna_id(seed: int, kind: str, number: int) -> str:
    """Returns a name like "ID_6431af929" that no other number of that seed and kind has.

    Every step is a bijection of the 36-bit integers, so names cannot clash as hashes could.
    """
    mask = (1 << _ID_BITS) - 1
    key = int.from_bytes(hashlib.sha256(f"{seed}/{kind}".encode()).digest()[:8], "big")
    value = (number + key) & mask
    for factor, shift in ((0x9E3779B97F4A7C15, 17), (0xBF58476D1CE4E5B9, 19)):
        value = (value * factor) & mask
        value ^= value >> shift
    return f"ID_{value:09x}"


def write_images(output: Path, layout: str, study: PhantomStudy, names: StudyNames, rng: np.random.Generator) -> None:
    """Writes the images of a study, each series whole or not at all.

    Args:
        output: Folder of the data set.
        layout: One of `LAYOUTS`.
        study: The study.
        names: What it is called in the layout.
        rng: Draws the order of files and of Instance Numbers, and names of folders.
    """
    if layout == RSNA:
        folder = output / IMAGES[RSNA]
        folder.mkdir(parents=True, exist_ok=True)
        for number, sop_uid in enumerate(names.sop_uids):
            with write_atomically(folder / f"{sop_uid}.dcm") as temporary:
                dicom.save(temporary, dicom.rsna_image(study, names, number))
        return
    from_vertex = bool(rng.random() < study.style.from_vertex)
    count = len(names.sop_uids)
    main = [
        dicom.ct_image(study, names, number, count - number if from_vertex else number + 1)
        for number in rng.permutation(count).tolist()
    ]
    if layout == CQ500:
        _write_cq500(output, study, names, main, rng)
        return
    root = output / IMAGES[CLINICAL] / names.patient_id / names.study_uid
    _write_folder(root / names.series_uid, main, "IM{:04d}.dcm", 1)
    for number, companion in enumerate(study.companions):
        images = dicom.companion_images(study, names, companion, 3 + number)
        _write_folder(root / images[0].SeriesInstanceUID, images, "IM{:04d}.dcm", 1)


def _write_cq500(
    output: Path, study: PhantomStudy, names: StudyNames, main: list[Dataset], rng: np.random.Generator
) -> None:
    scan = names.patient_id.replace("-", "")
    root = output / IMAGES[CQ500] / f"{scan} {scan}" / "Unknown Study"
    thin = float(np.median(study.geometry.thickness_mm)) < _THIN_MM
    choices = [_CQ500_THIN if thin else _CQ500_PLAIN, *(_CQ500_OTHER[one.kind] for one in study.companions)]
    series = [main]
    series += [dicom.companion_images(study, names, one, 3 + n) for n, one in enumerate(study.companions)]
    for variants, images in zip(choices, series, strict=True):
        name = str(rng.choice(variants))
        for image in images:
            image.SeriesDescription = name
        _write_folder(root / name, images, "CT{:06d}.dcm", 0)


def _write_folder(folder: Path, images: Iterable[Dataset], pattern: str, first: int) -> None:
    if folder.exists():  # from a call that was interrupted before it wrote the record
        shutil.rmtree(folder)
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        for number, image in enumerate(images, start=first):
            dicom.save(temporary / pattern.format(number), image)
