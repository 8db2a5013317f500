from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from slicewise.config import EncoderConfig, FusionConfig
from slicewise.errors import DigestMismatchError, ModelNotFoundError, PackageError, UsageError
from slicewise.package import (
    DEFAULT_MODEL,
    Calibration,
    EncoderArchitecture,
    FusionArchitecture,
    Manifest,
    load_package,
    probabilities_from_logits,
    shipped_models,
    write_package,
)
from slicewise.patients import (
    SeenContent,
    SeenPatients,
    hash_patient,
    hash_study,
    merge_content,
    merge_patients,
)

FILES = {"encoder.onnx": b"stage one", "fusion.onnx": b"stage two", "LICENSE": b"terms"}
MEMBERS = ("manifest.json", "digest.txt", *FILES)
MakeManifest = Callable[..., Manifest]
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda _: None,
    "emptied": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "garbled": lambda content: bytes(byte ^ 0xA5 for byte in content),
}


def read_members(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {item.name: item.read_bytes() for item in path.iterdir()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return
    path.mkdir(exist_ok=True)
    for item in path.iterdir():
        item.unlink()
    for name, content in members.items():
        (path / name).write_bytes(content)


def write_manifest(path: Path, content: bytes) -> None:
    """Puts a manifest and its right digest into a package."""
    digest = hashlib.sha256(content).hexdigest().encode()
    write_members(path, {**read_members(path), "manifest.json": content, "digest.txt": digest})


@pytest.fixture(params=["folder", "package.zip"])
def package_path(request: pytest.FixtureRequest, tmp_path: Path, make_manifest: MakeManifest) -> Path:
    path: Path = tmp_path / request.param
    write_package(path, make_manifest(), FILES)
    return path


def test_what_is_written_is_loaded(package_path: Path, make_manifest: MakeManifest) -> None:
    package = load_package(package_path)
    assert package.files == FILES
    assert msgspec.structs.replace(package.manifest, files={}) == make_manifest()
    assert package.has_seen("seen")
    assert not package.has_seen("someone else")


def test_folder_and_zip_have_one_digest(tmp_path: Path, make_manifest: MakeManifest) -> None:
    digests = {write_package(tmp_path / name, make_manifest(), FILES) for name in ("a", "b.zip")}
    assert len(digests) == 1
    assert write_package(tmp_path / "c", make_manifest(version="2"), FILES) not in digests


def test_a_run_folder_is_a_model(tmp_path: Path, make_manifest: MakeManifest) -> None:
    write_package(tmp_path / "run" / "package", make_manifest(), FILES)
    assert load_package(tmp_path / "run").manifest.name == "test-model"


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(package_path: Path, name: str, damage: str) -> None:
    members = read_members(package_path)
    damaged = DAMAGES[damage](members.pop(name))
    write_members(package_path, members if damaged is None else {**members, name: damaged})
    with pytest.raises(PackageError) as caught:
        load_package(package_path)
    assert package_path.name in str(caught.value)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_zip_is_refused(tmp_path: Path, make_manifest: MakeManifest, compression: int) -> None:
    write_package(tmp_path / "whole", make_manifest(), FILES)
    whole, path = load_package(tmp_path / "whole"), tmp_path / "package.zip"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in read_members(tmp_path / "whole").items():
            archive.writestr(name, content)
    content = buffer.getvalue()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(PackageError, match=r"package\.zip"):
            load_package(path)
    # Every byte of the table of contents, and some of the rest.
    places = [*range(0, len(content) - 500, 11), *range(len(content) - 500, len(content))]
    refusals = []
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            # A date, or another value that nobody reads.
            assert load_package(path).digest == whole.digest
        except PackageError as error:
            refusals.append(str(error))
    assert len(refusals) > len(places) / 2
    assert all("package.zip" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"format_version": 1, "name": "\xff"}',
        b"{}",
        b"[" * 100_000,
        b'{"format_version": 1, "descriptor_size": 1e999}',
    ],
)
def test_a_manifest_that_is_not_valid_is_named(package_path: Path, content: bytes) -> None:
    write_manifest(package_path, content)
    with pytest.raises(PackageError, match=r"manifest\.json"):
        load_package(package_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("calibration.scale", [1.0]),
        ("calibration.scale", [1.0] * 7),
        ("calibration.scale", [1.0] * 5 + [0.0]),
        ("calibration.scale", [1.0] * 5 + [-1.0]),
        ("calibration.scale", [1.0] * 5 + [None]),
        ("calibration.bias", []),
        ("thresholds", {}),
        ("thresholds", {"any": 0.5}),
        ("thresholds.any", 1.5),
        ("thresholds.any", -0.1),
        ("thresholds.any", None),
        ("thresholds.other", 0.5),
        ("study_thresholds", {"any": 0.5}),
        ("study_thresholds.any", 1.5),
        ("study_thresholds.any", 0.4),
        ("descriptor_size", 0),
        ("summary_size", -1),
        ("fusion.hidden_size", 0),
        ("fusion.neighbours", -1),
        ("encoder.pooling", "median"),
        ("encoder.pretrained", True),
        ("encoder.neighbours", -1),
        ("fusion.inputs", "logits"),
        ("weights", "int8"),
        ("task.labels", []),
    ],
)
def test_a_value_of_the_manifest_that_cannot_be_is_named(
    tmp_path: Path, make_manifest: MakeManifest, key: str, value: object
) -> None:
    path = tmp_path / "package"
    write_package(path, with_study_thresholds(make_manifest()), FILES)
    manifest = section = json.loads((path / "manifest.json").read_bytes())
    first, *_ = *sections, name = key.split(".")
    for item in sections:
        section = section[item]
    section[name] = value
    write_manifest(path, json.dumps(manifest).encode())
    with pytest.raises(PackageError, match=rf"manifest\.json.*{first}"):
        load_package(path)


def with_study_thresholds(manifest: Manifest) -> Manifest:
    thresholds = dict.fromkeys(manifest.task.label_names, 0.6)
    return msgspec.structs.replace(manifest, study_thresholds=thresholds, study_threshold_rule="by hand")


def test_thresholds_of_studies_are_written_where_there_are_any(tmp_path: Path, make_manifest: MakeManifest) -> None:
    manifest = with_study_thresholds(make_manifest())
    write_package(tmp_path / "own", manifest, FILES)
    loaded = load_package(tmp_path / "own").manifest
    assert loaded.study_threshold_rule == "by hand"
    assert loaded.thresholds_of_studies == manifest.study_thresholds
    write_package(tmp_path / "without", make_manifest(), FILES)
    assert b"study_threshold" not in (tmp_path / "without" / "manifest.json").read_bytes()
    without = load_package(tmp_path / "without").manifest
    assert without.thresholds_of_studies == without.thresholds


def test_the_configuration_of_another_version_does_not_matter(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = tmp_path / "package"
    write_package(path, make_manifest(), FILES)
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["provenance"]["config"]["stage1"]["renamed_since"] = {"a": [1]}
    write_manifest(path, json.dumps(manifest).encode())
    assert load_package(path).manifest.provenance.config["stage1"]["renamed_since"] == {"a": [1]}


def test_the_architecture_gives_back_what_shapes_the_networks() -> None:
    encoder = EncoderConfig(name="resnet34", pooling="gem", pretrained=True, map_channels=5, neighbours=2)
    assert EncoderArchitecture.of(encoder).config() == msgspec.structs.replace(encoder, pretrained=False)
    fusion = FusionConfig(name="window", inputs="compact", hidden_size=5, neighbours=3, epochs=7)
    assert FusionArchitecture.of(fusion).config() == msgspec.structs.replace(fusion, epochs=FusionConfig().epochs)


def test_the_architecture_is_written_and_loaded(tmp_path: Path, make_manifest: MakeManifest) -> None:
    encoder = EncoderArchitecture("resnet34", pooling="gem", map_channels=5, neighbours=2)
    fusion = FusionArchitecture("window", hidden_size=5, neighbours=3, inputs="compact")
    manifest = msgspec.structs.replace(make_manifest(), encoder=encoder, fusion=fusion)
    write_package(tmp_path / "package", manifest, FILES)
    loaded = load_package(tmp_path / "package").manifest
    assert (loaded.encoder, loaded.fusion) == (encoder, fusion)


def test_a_package_from_before_there_were_neighbours_reads_single_slices(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    path = tmp_path / "package"
    write_package(path, make_manifest(), FILES)
    manifest = json.loads((path / "manifest.json").read_bytes())
    del manifest["encoder"]["neighbours"], manifest["fusion"]["inputs"]
    write_manifest(path, json.dumps(manifest).encode())
    loaded = load_package(path).manifest
    assert (loaded.encoder.neighbours, loaded.fusion.inputs) == (0, "descriptor")


def test_what_a_killed_process_left_is_passed_over(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = tmp_path / "package"
    write_package(path, make_manifest(), FILES)
    (path / ".encoder.onnx.0123abcd.part").write_bytes(b"half")
    assert load_package(path).files == FILES


def test_patients_of_every_dataset_are_remembered(tmp_path: Path, make_manifest: MakeManifest) -> None:
    groups = (SeenPatients.of(["123", "P\udcff"], "first"), SeenPatients.of(["456"], "second"))
    provenance = msgspec.structs.replace(make_manifest().provenance, seen_patients=groups)
    write_package(tmp_path / "package", make_manifest(provenance=provenance), FILES)
    package = load_package(tmp_path / "package")
    assert [package.has_seen(patient) for patient in ("123", "P\udcff", "456", "789", "seen", "")] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_patient_hashes_are_slow_salted_and_repeatable() -> None:
    one, same, other = (SeenPatients.of(["123", "456"], digest) for digest in ("first", "first", "second"))
    assert one == same
    assert one.salt != other.salt
    assert set(one.hashes).isdisjoint(other.hashes)
    # RFC 7914, with N = 1024 and r = 8: one guess takes a mebibyte.
    expected = hashlib.scrypt(b"123", salt=one.salt.encode(), n=1024, r=8, p=1, dklen=8).hex()
    assert hash_patient("123", one.salt) == expected
    assert expected in one.hashes


def test_series_and_studies_of_every_dataset_are_remembered(tmp_path: Path, make_manifest: MakeManifest) -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(4)]
    groups = (
        SeenContent.of([digests[0], digests[0], ""], ["1.2.3", "P\udcff", ""], "first"),
        SeenContent.of([digests[1]], ["4.5.6"], "second"),
    )
    provenance = msgspec.structs.replace(make_manifest().provenance, seen_content=groups)
    write_package(tmp_path / "package", make_manifest(provenance=provenance), FILES)
    package = load_package(tmp_path / "package")
    assert [package.has_seen_content(digest) for digest in (*digests, "")] == [True, True, False, False, False]
    assert [package.has_seen_study(study) for study in ("1.2.3", "P\udcff", "4.5.6", "1.2", "")] == [
        *(True, True, True),
        *(False, False),
    ]
    assert groups[0].series == (digests[0][:12],)
    expected = hashlib.sha256(groups[0].salt.encode() + b"1.2.3").hexdigest()[:12]
    assert hash_study("1.2.3", groups[0].salt) == expected
    assert expected in groups[0].studies
    assert groups[0].salt != groups[1].salt


def test_memories_of_one_dataset_become_one() -> None:
    one, two = SeenContent.of(["a" * 64], ["1"], "x"), SeenContent.of(["b" * 64], ["1", "2"], "x")
    other = SeenContent.of([], ["1"], "y")
    assert set(merge_content((one, other, two))) == {SeenContent.of(["a" * 64, "b" * 64], ["1", "2"], "x"), other}
    patients = (SeenPatients.of(["1"], "x"), SeenPatients.of(["1"], "y"), SeenPatients.of(["2"], "x"))
    assert set(merge_patients(patients)) == {SeenPatients.of(["1", "2"], "x"), patients[1]}


def test_a_package_from_before_content_was_kept_stays_what_it_is(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = tmp_path / "package"
    digest = write_package(path, make_manifest(), FILES)
    assert b"seen_content" not in (path / "manifest.json").read_bytes()
    package = load_package(path)
    assert write_package(tmp_path / "copy", package.manifest, package.files) == digest
    assert not package.has_seen_content("0" * 64)
    assert not package.has_seen_study("1.2.3")


def test_a_shipped_package_remembers_what_it_has_seen() -> None:
    for name in shipped_models():
        shipped = load_package(name)
        assert {"reference.json", "card.json"} <= set(shipped.files)
        assert shipped.manifest.provenance.seen_content
        assert not shipped.has_seen_study("1.2.3")
        assert shipped.manifest.study_thresholds


def test_a_missing_or_an_extra_file_is_refused(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = tmp_path / "package"
    write_package(path, make_manifest(), FILES)
    (path / "extra.py").write_text("print('hello')")
    with pytest.raises(DigestMismatchError, match=r"extra\.py does not belong"):
        load_package(path)
    (path / "extra.py").unlink()
    (path / "fusion.onnx").unlink()
    with pytest.raises(PackageError, match=r"fusion\.onnx is missing"):
        load_package(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"preprocessing_digest": "other"}, "another version of the preprocessing"), ({"format_version": 9}, "format 9")],
)
def test_a_package_for_another_slicewise_is_refused(
    tmp_path: Path, make_manifest: MakeManifest, changes: dict[str, Any], message: str
) -> None:
    write_package(tmp_path / "package", make_manifest(**changes), FILES)
    with pytest.raises(PackageError, match=message):
        load_package(tmp_path / "package")


def test_an_existing_path_is_not_overwritten(package_path: Path, make_manifest: MakeManifest) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_package(package_path, make_manifest(), FILES)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model 'nothing'.*one of"):
        load_package("nothing")
    with pytest.raises(PackageError, match="neither a model package nor a finished run"):
        load_package(tmp_path)
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(PackageError, match=r"notes\.txt: not a whole zip file"):
        load_package(tmp_path / "notes.txt")


def test_a_zip_bomb_is_refused_before_it_is_read(
    tmp_path: Path, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "package.zip"
    write_package(path, make_manifest(), {**FILES, "encoder.onnx": bytes(10_000)})
    monkeypatch.setattr("slicewise.package.LARGEST_FILE", 9_999)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("was read"))
    with pytest.raises(PackageError, match="larger than 9999 bytes"):
        load_package(path)


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_are_the_calibrated_sigmoid(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    calibration = Calibration(scale=(1.0, 0.5, 2.0), bias=(0.0, -1.0, 1.0))
    probabilities = probabilities_from_logits(logits, calibration, None)
    expected = expit(logits.astype(float) * [1, 0.5, 2] + [0, -1, 1])
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-12)
    with_any = probabilities_from_logits(logits, calibration, 1)
    np.testing.assert_array_equal(with_any[:, 1], probabilities.max(axis=1))
    np.testing.assert_array_equal(with_any[:, [0, 2]], probabilities[:, [0, 2]])


def test_the_default_model_ships_and_is_whole() -> None:
    assert DEFAULT_MODEL in shipped_models()
    for name in shipped_models():
        package = load_package(name)
        assert package.manifest.name == name
        assert sum(map(len, package.files.values())) <= 25e6
        assert {"LICENSE", "NOTICE"} <= set(package.files)
