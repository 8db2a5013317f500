from __future__ import annotations

import msgspec
import numpy as np
import pytest

from slicewise.inference.descriptor_space import DescriptorSpace, Floats, fit_space


def made_series(count: int, size: int, seed: int = 0) -> list[Floats]:
    generator = np.random.default_rng(seed)
    spread = np.linspace(3.0, 0.1, size)
    return [generator.normal(1.0, spread, (6, size)) for _ in range(count)]


@pytest.mark.parametrize("size", [5, 400])  # fewer and more numbers than slices
def test_distances_are_those_of_a_plain_decomposition(size: int) -> None:
    series = made_series(20, size)
    rows = np.concatenate(series)
    space = fit_space(series, 3)
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    along = centred @ vectors[:, ::-1][:, :3]
    left = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
    expected = np.sqrt(((along**2 / values[::-1][:3]).mean(axis=1) + left / values[:-3].sum()) / 2)
    np.testing.assert_allclose(space.distances(rows), expected, rtol=1e-4)
    assert np.sqrt((space.distances(rows) ** 2).mean()) == pytest.approx(1.0, rel=1e-4)


def test_a_long_series_counts_as_much_as_a_short_one() -> None:
    short, long = made_series(2, 4)
    once, often = fit_space([short, long]), fit_space([short, np.tile(long, (9, 1))])
    np.testing.assert_allclose(once.mean, often.mean)
    np.testing.assert_allclose(once.variances, often.variances, rtol=1e-6)


def test_what_leaves_the_known_directions_is_far() -> None:
    series = [np.pad(item, ((0, 0), (0, 4)), constant_values=0.5) for item in made_series(30, 4)]
    space = fit_space(series)
    strange = series[0].copy()
    strange[:, -1] += 1.0
    assert space.distances(strange).min() > 20 * space.distances(series[0]).max()


def test_descriptors_without_spread_have_distances() -> None:
    space = fit_space([np.zeros((3, 2), np.float32)] * 4)
    assert space.variances == ()
    assert space.distances(np.zeros((5, 2))).tolist() == [0.0] * 5
    assert np.all(np.isfinite(space.distances(np.ones((1, 2)))))


def test_a_space_is_written_and_read() -> None:
    space = fit_space(made_series(5, 6), 2)
    assert msgspec.json.decode(msgspec.json.encode(space), type=DescriptorSpace) == space


@pytest.mark.parametrize("components", [b"", b"\0" * 20, np.full(12, np.nan, "<f4").tobytes(), b"\x7f" * 48])
def test_components_that_do_not_fit_are_refused(components: bytes) -> None:
    with pytest.raises(ValueError, match="components"):
        msgspec.structs.replace(fit_space(made_series(5, 6), 2), components=components)
