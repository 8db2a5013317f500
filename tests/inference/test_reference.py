from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from slicewise.errors import PackageError
from slicewise.inference.reference import (
    DescribedSeries,
    Reference,
    build_reference,
    encode_reference,
    level_scores,
    near_distance,
    read_reference,
)
from slicewise.package import REFERENCE, Manifest, ModelPackage

MakeManifest = Callable[..., Manifest]
SIZE = 4  # of the descriptors of `make_manifest`


def described(patients: int, labels: int, size: int = SIZE, seed: int = 0, slices: int = 6) -> list[DescribedSeries]:
    generator = np.random.default_rng(seed)
    return [
        DescribedSeries(
            f"P{number // 2}" if number < 4 else f"P{number}",
            f"S{number // 2}" if number < 4 else f"S{number}",
            f"S{number}.1",
            (generator.normal(0, 1, size) + generator.normal(0, 0.3, (slices, size))).astype(np.float32),
            generator.random((slices, labels)).astype(np.float32),
        )
        for number in range(patients)
    ]


def built(manifest: Manifest, **options: Any) -> Reference:
    reference = build_reference(described(30, len(manifest.task.labels), **options), manifest.task.label_names, "tests")
    assert reference is not None
    return reference


def package_of(manifest: Manifest, content: bytes) -> ModelPackage:
    return ModelPackage(manifest, "0", {REFERENCE: content})


def test_scores_of_studies_are_the_largest_of_all_their_series() -> None:
    series = described(6, 2)
    scores, owners = level_scores(series, "study")
    assert owners == ("P0", "P1", "P4", "P5")
    both = np.concatenate([series[0].probabilities, series[1].probabilities])
    np.testing.assert_allclose(scores[0], both.max(axis=0))
    of_series, _ = level_scores(series, "series")
    np.testing.assert_allclose(of_series, [item.probabilities.max(axis=0) for item in series])
    slices, owners = level_scores(series, "slice")
    np.testing.assert_allclose(slices, np.concatenate([item.probabilities for item in series]))
    assert owners[:13] == ("P0",) * 12 + ("P1",)


def test_a_reference_is_written_into_a_package_and_read(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    reference = built(manifest)
    assert read_reference(package_of(manifest, encode_reference(reference))) == reference
    assert read_reference(ModelPackage(manifest, "0", {})) is None
    assert (reference.patients, reference.scores["series"].rows, reference.scores["study"].rows) == (28, 30, 28)
    names = manifest.task.label_names
    scores, _ = level_scores(described(30, len(names)), "slice")
    table = reference.scores["slice"].labels[names[1]].percentiles
    np.testing.assert_allclose(table, np.quantile(scores[:, 1], np.arange(101) / 100, method="inverted_cdf"))


def test_a_reference_of_large_descriptors_stays_small(make_manifest: MakeManifest) -> None:
    assert len(encode_reference(built(make_manifest(), size=2048))) < 500_000


def test_distances_are_those_of_new_patients(make_manifest: MakeManifest) -> None:
    # Few patients in 100 dimensions lie near their own mean; others of the same kind do not.
    names = make_manifest().task.label_names
    series = described(120, len(names), size=100)
    reference = build_reference(series, names, "tests")
    assert reference is not None
    assert (reference.space_patients, reference.distance_patients) == (59, 59)
    new = [reference.space.distances(item.descriptors).mean() for item in described(400, len(names), size=100, seed=5)]
    beyond = [float(np.mean(np.array(new) > reference.series_distances[level])) for level in (50, 95)]
    assert beyond == [pytest.approx(0.5, abs=0.15), pytest.approx(0.05, abs=0.05)]


def test_one_patient_makes_no_reference() -> None:
    assert build_reference(described(2, 1), ("a",), "tests") is None
    assert build_reference(described(4, 1), ("a",), "tests") is not None


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("patients", 0, "patients"),
        ("distance_patients", 10**400, "distance_patients"),
        ("scores.slice", None, "scores"),
        ("scores.study.labels", {}, "labels"),
        ("scores.slice.labels.any.percentiles", [0.5], "percentiles"),
        ("scores.slice.labels.any.percentiles", [1.0] + [0.0] * 100, "percentiles"),
        ("scores.slice.labels.any.percentiles", [1e400] * 101, "range"),
        ("scores.slice.labels.any.percentiles", [2.0] * 101, "percentiles"),
        ("scores.slice.labels.any.psi_of_halves", -1.0, "psi_of_halves"),
        ("space.mean", [0.0], "components"),
        ("space.mean", [0.0] * 8, "components"),
        ("space.mean", [1e300] * 4, "mean"),
        ("space.residual_variance", 1e-300, "residual_variance"),
        ("space.components", "AAAA", "components"),
        ("space.components", "!", "components"),
        ("space.variances", [0.0, 1.0], "variances"),
        ("space.residual_variance", 0.0, "residual_variance"),
        ("series_distances", [], "series_distances"),
        ("slice_distances", [-1.0] * 101, "slice_distances"),
        ("format_version", 2, "format 2"),
        ("format_version", "1", "format 1"),
        ("extra", 1, "extra"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(
    make_manifest: MakeManifest, key: str, value: object, named: str
) -> None:
    manifest = make_manifest()
    content = section = json.loads(encode_reference(built(manifest)))
    *sections, name = key.split(".")
    for item in sections:
        section = section[item]
    section[name] = value
    encoded = json.dumps(content).replace("Infinity", "1e400").encode()
    with pytest.raises(PackageError, match=rf"test-model: reference\.json.*{named}"):
        read_reference(package_of(manifest, encoded))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b"{}", b" " * (9 << 20)])
def test_what_is_no_reference_is_refused(make_manifest: MakeManifest, content: bytes) -> None:
    with pytest.raises(PackageError, match=r"test-model: reference\.json"):
        read_reference(package_of(make_manifest(), content))


def test_the_reference_of_another_model_is_refused(make_manifest: MakeManifest) -> None:
    content = encode_reference(built(make_manifest()))
    other = msgspec.structs.replace(make_manifest(), descriptor_size=5)
    with pytest.raises(PackageError, match=r"space\.mean has 4 numbers; expected 5"):
        read_reference(package_of(other, content))


def test_a_series_is_as_far_as_its_nearest_quarter() -> None:
    assert near_distance(np.array([9.0, 1.0, 2.0, 3.0, 8.0])) == 2.0


def test_distances_of_nearest_quarters_are_kept_and_may_be_missing(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    reference = built(manifest)
    assert len(reference.near_distances) == len(reference.series_distances)
    assert all(near <= mean for near, mean in zip(reference.near_distances, reference.series_distances, strict=True))
    before = msgspec.structs.replace(reference, near_distances=())
    assert read_reference(package_of(manifest, encode_reference(before))) == before
    wrong = msgspec.structs.replace(reference, near_distances=reference.near_distances[::-1])
    with pytest.raises(PackageError, match="near_distances: expected 101 numbers in ascending order"):
        read_reference(package_of(manifest, encode_reference(wrong)))
