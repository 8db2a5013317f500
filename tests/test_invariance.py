"""What must not matter: names and folders, the order of files and acquisition, and how the patient lay."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_files import head_values, make_dataset, seeded_uid, write_dataset
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.orientation import turn_to_canonical
from slicewise.imaging.series import choose_series
from slicewise.task import load_task
from slicewise.volume import Volume

ICH = load_task("ich").series
SLICES, MATRIX, SPACING_MM, PIXELS_MM = 10, 16, 5.0, (3.5, 3.0)
VALUES = head_values(SLICES, MATRIX)
AXIAL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Direction of a row of pixels, then of a column."""

POSITIONS = np.array([[-24.0, -28.0, SPACING_MM * index] for index in range(SLICES)])
NAMES = tuple(f"IM{index:02d}.dcm" for index in range(SLICES))
NUMBERS = tuple(range(1, SLICES + 1))

Floats = npt.NDArray[np.float64]


def write(
    folder: Path,
    *,
    values: npt.NDArray[np.float32] = VALUES,
    positions: Floats = POSITIONS,
    directions: Floats = AXIAL,
    pixel_spacing: tuple[float, float] = PIXELS_MM,
    names: Sequence[str] = NAMES,
    numbers: Sequence[int] = NUMBERS,
) -> Path:
    """Writes slices, given from feet to head, under any names and numbers; returns the folder."""
    for index, image in enumerate(values):
        dataset = make_dataset(
            values=image,
            sop_uid=seeded_uid("invariance", index),
            InstanceNumber=int(numbers[index]),
            ImagePositionPatient=[round(float(value), 6) for value in positions[index]],
            ImageOrientationPatient=[round(float(value), 12) + 0.0 for value in directions.ravel()],
            PixelSpacing=list(pixel_spacing),
        )
        write_dataset(folder / names[index], dataset)
    return folder


def read(path: Path) -> Volume:
    """Reads what is there as the command line does; nothing may be rejected."""
    with take_inventory([path]) as found:
        (study,) = found.studies()
        assert list(found.rejections()) == []
    (decision,) = choose_series(study, ICH)
    assert (decision.chosen, decision.reason) == (True, "chosen")
    volume, rejected = load_volume(decision.series, workers=1)
    assert rejected == ()
    return volume


def canonical(volume: Volume) -> npt.NDArray[np.float32]:
    return turn_to_canonical(volume.orientation).apply(volume.values)


def sop_uids(volume: Volume) -> list[str]:
    return [item.sop_uid for item in volume.slices]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    volume = read(write(tmp_path_factory.mktemp("expected")))
    np.testing.assert_array_equal(volume.values, VALUES)
    assert volume.positions_mm.tolist() == [SPACING_MM * index for index in range(SLICES)]
    assert sop_uids(volume) == [seeded_uid("invariance", index) for index in range(SLICES)]
    assert volume.warnings == ()
    return volume


def assert_same(volume: Volume, expected: Volume) -> None:
    np.testing.assert_array_equal(volume.values, expected.values)
    np.testing.assert_array_equal(volume.positions_mm, expected.positions_mm)
    np.testing.assert_array_equal(volume.duplicate_rank, expected.duplicate_rank)
    assert sop_uids(volume) == sop_uids(expected)
    assert [item.slice_index for item in volume.slices] == list(range(SLICES))
    assert volume.pixel_spacing_mm == expected.pixel_spacing_mm
    assert (volume.tilt_degrees, volume.orientation) == (expected.tilt_degrees, expected.orientation)
    assert volume.warnings == expected.warnings


FOLDERS = st.lists(st.sampled_from(["a", "B", "Ünknown Study", "x y", "1.2.3", "頭"]), max_size=3)
STEMS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
PATHS = st.lists(
    st.tuples(FOLDERS, STEMS, st.sampled_from(["", ".dcm", ".IMA", ".jpg", ".0001"])).map(
        lambda parts: "/".join([*parts[0], parts[1] + parts[2]])
    ),
    min_size=SLICES,
    max_size=SLICES,
    unique_by=lambda path: path.lower(),
).filter(lambda paths: not any(other.startswith(f"{path}/") for path in paths for other in paths))
"""Names of files, of which none is the folder of another."""


@settings(max_examples=20)
@given(names=PATHS, numbers=st.permutations(NUMBERS))
def test_names_folders_and_numbers_of_files(
    expected: Volume, tmp_path_factory: pytest.TempPathFactory, names: list[str], numbers: list[int]
) -> None:
    folder = write(tmp_path_factory.mktemp("named"), names=names, numbers=numbers)
    volume = read(folder)
    assert_same(volume, expected)
    assert [item.file for item in volume.slices] == names


@settings(max_examples=10)
@given(order=st.permutations(range(SLICES)), split=st.integers(0, SLICES))
def test_the_order_of_entries_in_archives_and_how_a_series_is_split_over_them(
    expected: Volume, tmp_path_factory: pytest.TempPathFactory, order: list[int], split: int
) -> None:
    base = tmp_path_factory.mktemp("archives")
    folder = write(base / "files")
    (base / "in").mkdir()
    for name, indices in (("a.zip", order[:split]), ("b.zip", order[split:])):
        with zipfile.ZipFile(base / "in" / name, "w") as archive:
            for index in indices:
                archive.write(folder / NAMES[index], f"deep/{index}.dcm")
    assert_same(read(base / "in"), expected)


@pytest.mark.parametrize(
    "numbers",
    [
        tuple(reversed(NUMBERS)),  # scanned from head to feet
        tuple(itertools.chain.from_iterable(zip(NUMBERS[:5], NUMBERS[5:], strict=True))),  # odd places first, then even
        (7,) * SLICES,
    ],
    ids=["reversed", "interleaved", "all the same"],
)
def test_the_order_of_acquisition(expected: Volume, tmp_path: Path, numbers: tuple[int, ...]) -> None:
    assert_same(read(write(tmp_path, numbers=numbers)), expected)


@dataclass(frozen=True)
class Motion:
    """How the patient moves: turned about the table's axis, tilted about a level one, and shifted.

    Attributes:
        tilt: Degrees.
        about: Direction of the level axis in degrees from the patient's left.
        turn: Degrees.
        shift: Millimetres.
        upside_down: First of all, what was nearer to the feet comes nearer to the head.
    """

    tilt: float
    about: float
    turn: float
    shift: tuple[float, float, float]
    upside_down: bool

    def rotation(self) -> Rotation:
        axis = np.array([np.cos(np.deg2rad(self.about)), np.sin(np.deg2rad(self.about)), 0.0])
        first = Rotation.from_euler("x", 180.0 if self.upside_down else 0.0, degrees=True)
        turned = Rotation.from_euler("z", self.turn, degrees=True)
        return Rotation.from_rotvec(np.deg2rad(self.tilt) * axis) * turned * first


MOTIONS = st.builds(
    Motion,
    tilt=st.floats(-34.0, 34.0),
    about=st.floats(0.0, 180.0),
    turn=st.floats(-180.0, 180.0),
    shift=st.tuples(*[st.floats(-500.0, 500.0)] * 3),
    upside_down=st.booleans(),
)


@settings(max_examples=25)
@given(motion=MOTIONS)
def test_any_rigid_motion_of_the_patient_within_what_the_task_reads(
    expected: Volume, tmp_path_factory: pytest.TempPathFactory, motion: Motion
) -> None:
    rotation = motion.rotation()
    volume = read(
        write(
            tmp_path_factory.mktemp("moved"),
            positions=rotation.apply(POSITIONS) + motion.shift,
            directions=rotation.apply(AXIAL),
        )
    )
    forward = slice(None, None, -1 if motion.upside_down else 1)
    np.testing.assert_array_equal(volume.values, expected.values[forward])
    np.testing.assert_allclose(np.diff(volume.positions_mm), SPACING_MM, atol=1e-5)
    assert sop_uids(volume) == sop_uids(expected)[forward]
    assert volume.pixel_spacing_mm == expected.pixel_spacing_mm
    np.testing.assert_allclose(volume.orientation, rotation.apply(AXIAL).ravel(), atol=1e-9)
    assert volume.tilt_degrees == pytest.approx(abs(motion.tilt), abs=1e-4)
    if abs(abs(motion.tilt) - 1.0) > 1e-3:  # a degree is worth telling
        assert [item.code for item in volume.warnings] == ["tilted"] * (abs(motion.tilt) > 1.0)


@pytest.mark.parametrize("direction", [1, -1], ids=["from the feet", "from the head"])
@pytest.mark.parametrize("flipped", ["", "rows", "columns", "rows, columns"])
@pytest.mark.parametrize("transposed", ["", "transposed"])
def test_every_way_to_store_the_same_slices(
    expected: Volume, tmp_path: Path, transposed: str, flipped: str, direction: int
) -> None:
    """As of a patient who lies prone, on the side, or feet first: the first pixel lies elsewhere, the head does not."""
    images, directions, origins, pixel_spacing = VALUES.copy(), AXIAL.copy(), POSITIONS.copy(), PIXELS_MM
    if "rows" in flipped:
        images, directions[1] = images[:, ::-1], -directions[1]
        origins[:, 1] += (MATRIX - 1) * PIXELS_MM[0]
    if "columns" in flipped:
        images, directions[0] = images[:, :, ::-1], -directions[0]
        origins[:, 0] += (MATRIX - 1) * PIXELS_MM[1]
    if transposed:
        images, directions, pixel_spacing = images.swapaxes(1, 2), directions[::-1], (PIXELS_MM[1], PIXELS_MM[0])
    folder = write(
        tmp_path,
        values=np.ascontiguousarray(images),
        positions=origins,
        directions=directions,
        pixel_spacing=pixel_spacing,
        numbers=NUMBERS[::direction],
        names=NAMES[::direction],
    )
    volume = read(folder)
    np.testing.assert_array_equal(canonical(volume), expected.values)
    np.testing.assert_array_equal(volume.positions_mm, expected.positions_mm)
    assert turn_to_canonical(volume.orientation).swap(volume.pixel_spacing_mm) == expected.pixel_spacing_mm
    assert sop_uids(volume) == sop_uids(expected)
