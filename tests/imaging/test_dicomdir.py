from __future__ import annotations

import tracemalloc
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from archives import zip_folder
from dicom_files import make_dataset, seeded_uid, write_dataset
from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicomdir import disc_files, is_dicomdir, missing_files
from slicewise.results import Rejection
from slicewise.source import Source


def write_dicomdir(path: Path, file_ids: Sequence[str], *, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Writes an index with a record a file; IDs are given with slashes."""
    dataset = Dataset()
    dataset.DirectoryRecordSequence = [Dataset()]  # a record that names no file, as that of a patient
    for file_id in file_ids:
        record = Dataset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # IDs that the standard does not allow
            record.ReferencedFileID = file_id.split("/")
        dataset.DirectoryRecordSequence.append(record)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(seeded_uid("index"))
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an image")


def named(dicomdir: Path) -> list[str]:
    return sorted(source.file for source in disc_files(dicomdir))


def missing(path: Path, file: str = "") -> dict[str, tuple[str, str]]:
    found = list(missing_files(Source(str(path), file or path.name)))
    assert len({item.path for item in found}) == len(found)
    return {item.path: (item.kind, item.reason) for item in found}


def test_a_dicomdir_is_told_by_its_name_or_its_content(tmp_path: Path) -> None:
    write_files(tmp_path, "DICOMDIR", "dicomdir;1", "other")
    write_dicomdir(tmp_path / "INDEX", [])
    write_dataset(tmp_path / "IM1", make_dataset())
    found = [name for name in ("DICOMDIR", "dicomdir;1", "other", "INDEX", "IM1") if is_dicomdir(tmp_path / name)]
    assert found == ["DICOMDIR", "dicomdir;1", "INDEX"]


def test_the_files_that_a_dicomdir_names(tmp_path: Path) -> None:
    write_files(tmp_path, "A/B/IM1", "A/B/IM2", "A/B/IM3", "IM4")
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", ["A/B/IM1", "A/B/IM2", "IM4", "A/B/IM1"])
    assert named(dicomdir) == ["A/B/IM1", "A/B/IM2", "DICOMDIR", "IM4"]
    assert {Path(source.path) for source in disc_files(dicomdir)} == {
        tmp_path / name for name in ("A/B/IM1", "A/B/IM2", "DICOMDIR", "IM4")
    }
    assert missing(dicomdir) == {}


@pytest.mark.parametrize(
    ("dicomdir", "names"),
    [
        ("dicomdir", ["a/im1", "a/im2"]),
        ("DICOMDIR;1", ["A/IM1;1", "A/IM2;1"]),
        ("dicomdir;1", ["a/im1.;1", "a/im2.;1"]),
        ("DICOMDIR", ["a/IM1", "a/im2;1"]),
    ],
)
def test_whatever_became_of_names_when_the_disc_was_copied(tmp_path: Path, dicomdir: str, names: list[str]) -> None:
    write_files(tmp_path, *names)
    path = write_dicomdir(tmp_path / dicomdir, ["A/IM1", "A/IM2"])
    assert named(path) == sorted([dicomdir, *names])
    assert missing(path) == {}


def test_of_names_that_differ_in_case_alone_the_exact_one_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, "IM1", "im1", "Im2", "iM2")
    path = write_dicomdir(tmp_path / "DICOMDIR", ["IM1", "IM2"])
    assert named(path) == ["DICOMDIR", "IM1", "iM2"]


def test_missing_files(tmp_path: Path) -> None:
    write_files(tmp_path, "A/IM1")
    long = "L" * 300  # more than a file system takes
    path = write_dicomdir(tmp_path / "DICOMDIR", ["A/IM1", "A/IM2", "B/IM3", "IM4", "A/IM1/IM5", f"A/{long}"])
    assert named(path) == ["A/IM1", "DICOMDIR"]
    expected = {
        "A/IM2": ("unreadable", "missing_file"),
        "B/IM3": ("not_chosen", "missing_file"),  # the folder was not copied
        "IM4": ("unreadable", "missing_file"),
        "A/IM1/IM5": ("not_chosen", "missing_file"),
        f"A/{long}": ("unreadable", "missing_file"),
    }
    assert missing(path) == expected
    assert missing(path, "discs/1/DICOMDIR") == {f"discs/1/{name}": value for name, value in expected.items()}
    (tmp_path / "A" / "IM2").write_bytes(b"copied later")
    assert named(path) == ["A/IM1", "A/IM2", "DICOMDIR"]


@pytest.mark.parametrize("file_id", ["../IM1", "A/../../IM1", "./A/IM1", "C:/IM1", "A//IM1", "/A/IM1"])
def test_an_id_that_leads_out_of_the_disc(tmp_path: Path, file_id: str) -> None:
    write_files(tmp_path, "IM1", "disc/A/IM1")
    path = tmp_path / "disc" / "DICOMDIR"
    write_dicomdir(path, [file_id])
    assert named(path) == ["DICOMDIR"]
    (kind_and_reason,) = missing(path).values()
    assert kind_and_reason == ("unreadable", "unsafe_path")


def test_an_index_a_folder(tmp_path: Path) -> None:
    write_files(tmp_path, "S1/IM1", "S2/IM2")
    path = write_dicomdir(tmp_path / "DICOMDIR", ["S1/DIRFILE", "S2/DIRFILE", "S3/DIRFILE"])
    write_dicomdir(tmp_path / "S1" / "DIRFILE", ["S1/IM1", "S1/IM9", "S1/DIRFILE", "DICOMDIR"])  # names itself
    write_dicomdir(tmp_path / "S2" / "DIRFILE", ["S2/IM2"])
    assert named(path) == ["DICOMDIR", "S1/DIRFILE", "S1/IM1", "S2/DIRFILE", "S2/IM2"]
    assert missing(path) == {"S3/DIRFILE": ("not_chosen", "missing_file")}
    assert missing(tmp_path / "S1" / "DIRFILE", "S1/DIRFILE") == {"S1/IM9": ("unreadable", "missing_file")}
    assert missing(tmp_path / "S1" / "DIRFILE", "DIRFILE") == {"IM9": ("unreadable", "missing_file")}


def test_the_paths_of_an_index_count_from_the_dicomdir_also_in_lower_case(tmp_path: Path) -> None:
    write_files(tmp_path, "s1/im1")
    write_dicomdir(tmp_path / "dicomdir", ["S1/DIRFILE"])
    index = write_dicomdir(tmp_path / "s1" / "dirfile", ["S1/IM1", "S1/IM2", "S2/IM3"])
    assert missing(index, "s1/dirfile") == {
        "S1/IM2": ("unreadable", "missing_file"),
        "S2/IM3": ("not_chosen", "missing_file"),
    }


def test_of_a_disc_in_an_archive_nothing_is_said_to_be_missing(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "disc" / "DICOMDIR", ["A/IM1"])
    path = zip_folder(tmp_path / "disc.zip", tmp_path / "disc")
    assert list(missing_files(Source(str(path), "DICOMDIR", 0))) == []


def test_a_damaged_dicomdir(tmp_path: Path) -> None:
    write_files(tmp_path, "A/IM1")
    path = write_dicomdir(tmp_path / "DICOMDIR", ["A/IM1", "A/IM2"])
    whole = path.read_bytes()
    for length in range(len(whole) - 60, len(whole)):
        path.write_bytes(whole[:length])
        assert named(path) == ["DICOMDIR"]
        with pytest.raises(UnreadableFileError, match="this index of files cannot be parsed") as error:
            missing(path)
        assert error.value.reason == "malformed"
    path.write_bytes(b"no index")
    assert named(path) == ["DICOMDIR"]


def test_an_index_that_would_fill_the_memory(tmp_path: Path) -> None:
    path = write_dicomdir(tmp_path / "DICOMDIR", [], syntax=DeflatedExplicitVRLittleEndian)
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = path.read_bytes()[: 132 + 12 + int.from_bytes(path.read_bytes()[140:144], "little")]
    path.write_bytes(start + compressor.compress(bytes(200 << 20)) + compressor.flush())
    tracemalloc.start()
    try:
        assert named(path) == ["DICOMDIR"]
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(UnreadableFileError):
        missing(path)


def test_the_real_disc(shared_data: Path) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    assert named(disc / "DICOMDIR") == sorted(
        path.relative_to(disc).as_posix() for path in disc.rglob("*") if path.is_file()
    )
    not_copied = ("not_chosen", "missing_file")
    assert missing(disc / "DICOMDIR") == {"S21610/DIRFILE": not_copied}
    assert missing(disc / "S21570" / "DIRFILE", "S21570/DIRFILE") == {
        "S21570/S2020/DIRFILE": not_copied,
        "S21570/S2030/DIRFILE": not_copied,
    }
    assert missing(disc / "S21570" / "S2010" / "DIRFILE", "S21570/S2010/DIRFILE") == {}


def test_messages_name_the_index(tmp_path: Path) -> None:
    path = write_dicomdir(tmp_path / "DICOMDIR", ["A/IM1", "../IM1"])
    assert list(missing_files(Source(str(path), "disc/DICOMDIR"))) == [
        Rejection(
            "disc/../IM1",
            "unreadable",
            "unsafe_path",
            "disc/../IM1: DICOMDIR names this path, which leads out of its disc.",
        ),
        Rejection(
            "disc/A/IM1",
            "not_chosen",
            "missing_file",
            "disc/A/IM1: is named by DICOMDIR and not there. Copy the disc again if it is wanted.",
        ),
    ]
