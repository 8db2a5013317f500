"""Scans of what is no head: a knee, chest and abdomen, test phantoms, noise, and heads in other units than HU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.volume import SliceReference, Volume

Values = npt.NDArray[np.float32]

AIR, FAT, MUSCLE, BONE = -1000.0, -100.0, 55.0, 900.0


def volume_of(
    values: npt.NDArray[np.floating], *, pixel_mm: tuple[float, float] = (1.8, 1.8), spacing_mm: float = 5.0
) -> Volume:
    """Returns images as a series."""
    count = len(values)
    return Volume(
        values=values.astype(np.float32),
        positions_mm=spacing_mm * np.arange(count, dtype=np.float64),
        pixel_spacing_mm=pixel_mm,
        tilt_degrees=0.0,
        duplicate_rank=np.zeros(count, dtype=np.int64),
        slices=tuple(SliceReference(f"1.{index}", 1, f"{index}.dcm", index) for index in range(count)),
        patient_id="P",
        study_uid="1",
        series_uid="1.1",
        modality="CT",
    )


def plane(size: int = 128, pixel_mm: float = 1.8) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns rows and columns of every pixel in mm from the centre."""
    along = (np.arange(size) - (size - 1) / 2) * pixel_mm
    rows, columns = np.meshgrid(along, along, indexing="ij")
    return rows, columns


def stack(image: npt.NDArray[np.float64], rng: np.random.Generator, noise_hu: float = 5.0, slices: int = 12) -> Values:
    """Returns one image as slices, each with noise of its own."""
    return (image + rng.normal(0, noise_hu, (slices, *image.shape))).astype(np.float32)


def knee(rng: np.random.Generator) -> Values:
    """A leg of fat and muscle around two bones with marrow."""
    rows, columns = plane()
    radius, reach = rng.uniform(55, 75), np.hypot(rows, columns)
    image = np.where(reach < radius, FAT, AIR)
    image[reach < radius - rng.uniform(5, 15)] = MUSCLE
    for centre, size in ((-8.0, rng.uniform(17, 24)), (26.0, rng.uniform(7, 10))):
        bone = np.hypot(rows, columns - centre)
        image[bone < size] = BONE
        image[bone < size - rng.uniform(2, 5)] = rng.uniform(-60, 150)
    return stack(image, rng)


def trunk(rng: np.random.Generator, *, lungs: bool) -> Values:
    """A chest or an abdomen: soft tissue within ribs and a spine."""
    rows, columns = plane(pixel_mm=3.0)
    reach = np.hypot(rows / 110, columns / 160)
    image = np.where(reach < 1, FAT, AIR)
    image[reach < 0.9] = MUSCLE
    for side in (-1, 1) if lungs else ():
        image[np.hypot(rows / 70, (columns - side * 65) / 50) < 1] = -850.0
    image[np.hypot(rows - 80, columns) < 18] = 500.0
    for angle in np.linspace(0, 2 * np.pi, 14, endpoint=False):
        image[np.hypot(rows - 95 * np.sin(angle), columns - 140 * np.cos(angle)) < 6] = 700.0
    return stack(image, rng)


def disc(rng: np.random.Generator, hu: float, ring_hu: float) -> Values:
    """A test phantom: one material in a ring of another."""
    rows, columns = plane()
    radius, reach = rng.uniform(70, 95), np.hypot(rows, columns)
    image = np.where(reach < radius + 6, ring_hu, AIR)
    image[reach < radius] = hu
    return stack(image, rng, noise_hu=4.0)


def inserts(rng: np.random.Generator) -> Values:
    """A test phantom of water with five rods."""
    values = disc(rng, 0.0, BONE)
    rows, columns = plane()
    for number, hu in enumerate((-1000.0, -100.0, 120.0, 340.0, 990.0)):
        angle = 2 * np.pi * number / 5
        values[:, np.hypot(rows - 45 * np.sin(angle), columns - 45 * np.cos(angle)) < 12] = hu
    return values


def noise(rng: np.random.Generator, mean: float = 0.0, spread: float = 300.0) -> Values:
    """Noise alone."""
    return rng.normal(mean, spread, (12, 128, 128)).astype(np.float32)


def through_a_window(values: Values) -> Values:
    """A head as an image of 256 grey levels, as from a picture file."""
    shown: Values = np.clip(values / 80 * 255, 0, 255).astype(np.float32)
    return shown


def signal_like_mr(values: Values) -> Values:
    """A head in the units of MR: 0 and above, bone dark and brain bright."""
    shown: Values = np.select([values < -200, values > 200, values < 20], [5.0, 60.0, 300.0], 600.0).astype(np.float32)
    return shown
