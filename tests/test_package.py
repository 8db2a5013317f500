from __future__ import annotations

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

from slicewise.errors import DigestMismatchError, PackageError
from slicewise.package import (
    DEFAULT_MODEL,
    Calibration,
    Manifest,
    load_package,
    probabilities_from_logits,
    shipped_models,
    write_package,
)

FILES = {"encoder.onnx": b"stage one", "fusion.onnx": b"stage two", "LICENSE": b"terms"}
MakeManifest = Callable[..., Manifest]


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


@pytest.mark.parametrize("name", ["encoder.onnx", "LICENSE", "manifest.json", "digest.txt"])
def test_a_changed_file_is_refused(tmp_path: Path, make_manifest: MakeManifest, name: str) -> None:
    path = tmp_path / "package"
    write_package(path, make_manifest(), FILES)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content.replace(b"e", b"E", 1) if b"e" in content else b"0" + content[1:])
    with pytest.raises(DigestMismatchError, match="Get the package again"):
        load_package(path)


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
    with pytest.raises(PackageError, match="exists"):
        write_package(package_path, make_manifest(), FILES)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no model 'nothing'.*one of"):
        load_package("nothing")
    with pytest.raises(PackageError, match="neither a model package nor a finished run"):
        load_package(tmp_path)


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
