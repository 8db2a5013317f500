"""One damaged input: everything follows from a seed and a number, so that each can be made again alone."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dicom_files import head_values, make_dataset, seeded_uid
from fuzzing.codestreams import PIXEL_MUTATORS
from fuzzing.containers import Files, bomb, damaged_archive, damaged_disc, damaged_nifti
from fuzzing.elements import RawFile, encode_file
from fuzzing.mutators import BYTE_MUTATORS, FILE_MUTATORS
from fuzzing.seeds import bundled_seeds, files_in, own_seeds, stored

_DAMAGED = "damaged.dcm"


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: What was done to what.
        files: Its files by path.
        entry: Which of them is read; "" for the folder.
        target: The damaged one.
    """

    name: str
    files: Files
    entry: str
    target: str

    def write(self, folder: Path) -> Path:
        """Writes the files to an empty folder and returns the path to read."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / self.entry


class CaseMaker:
    """Makes damaged inputs.

    Args:
        seed: Numbers a run.
        data: A folder with further valid files.
        bomb_megabytes: What bombs unpack to.
    """

    def __init__(self, seed: int, data: Path | None = None, bomb_megabytes: int = 300) -> None:
        self._seed = seed
        found = [] if data is None else files_in(data)
        self._real = [item for item in found if ".nii" not in item.name]
        self._niftis = [item for item in found if ".nii" in item.name]
        self._bomb_megabytes = bomb_megabytes

    def make(self, number: int) -> Case:
        """Makes the input of a number."""
        rng = random.Random(f"{self._seed} {number}")
        kind = rng.choices(("image", "series", "nifti", "archive", "disc", "bomb"), (68, 10, 10, 7, 4.5, 0.5))[0]
        if kind == "image":
            name, content = self._damaged_image(rng)
            return Case(name, {_DAMAGED: content}, rng.choice((_DAMAGED, "")), _DAMAGED)
        if kind == "series":
            name, content = self._damaged_image(rng)
            return Case(f"series with {name}", {**_good_slices(), _DAMAGED: content}, "", _DAMAGED)
        if kind == "archive":
            name, content = self._damaged_image(rng)
            entry, files = damaged_archive(rng, {_DAMAGED: content, **_good_slices()})
            return Case(f"archive with {name}", files, entry, entry)
        if kind == "nifti":
            entry, files = damaged_nifti(rng, self._niftis)
        elif kind == "disc":
            entry, files = damaged_disc(rng)
        else:
            entry, files = bomb(rng, self._bomb_megabytes)
        return Case(kind, files, entry, entry or "DICOMDIR")

    def _damaged_image(self, rng: random.Random) -> tuple[str, bytes]:
        kinds = (own_seeds(), bundled_seeds(), self._real or own_seeds())
        seed = rng.choice(rng.choices(kinds, (75, 20, 5))[0])
        if seed.file is None or rng.random() < 0.15:
            return seed.name, _damaged_bytes(seed.content, rng, rng.choice((1, 1, 2, 5)))
        file = deepcopy(seed.file)
        done = [_damage(file, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        content = encode_file(file)
        if rng.random() < 0.2:
            content = _damaged_bytes(content, rng, 1)
        return f"{seed.name}: {', '.join(done)}", content


def _damage(file: RawFile, rng: random.Random) -> str:
    is_packed = any(element.is_undefined for element in file.dataset if element.tag == 0x7FE00010)
    mutator = rng.choice(PIXEL_MUTATORS if is_packed and rng.random() < 0.5 else FILE_MUTATORS)
    mutator(file, rng)
    return mutator.__name__


def _damaged_bytes(content: bytes, rng: random.Random, times: int) -> bytes:
    for _ in range(times):
        content = rng.choice(BYTE_MUTATORS)(content, rng)
    return content


@cache
def _good_slices() -> Files:
    """Returns slices of the series to which the images made here belong."""
    return {
        f"good{index}.dcm": stored(
            make_dataset(
                values=head_values(4, 32)[index],
                sop_uid=seeded_uid("good", index),
                ImagePositionPatient=[0.0, 0.0, 5.0 * index],
            )
        )
        for index in range(1, 4)
    }
