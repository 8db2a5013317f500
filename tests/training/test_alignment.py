from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.linear_model
import sklearn.metrics
import sklearn.pipeline
import sklearn.preprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.training import alignment as module
from slicewise.training.alignment import PENALTIES, Alignment, Descriptors, Floats, explained_variance, fit_alignment

Encoder = Callable[[Floats], Descriptors]
LATENT, FEATURES, FOLDS = 8, 32, 4


def mixing_encoder(rng: np.random.Generator, noise: float) -> Encoder:
    """An encoder with a random basis of its own, which sees latent features through noise."""
    mixing = rng.normal(size=(LATENT, FEATURES)) * rng.lognormal(sigma=0.5, size=FEATURES)
    offset = rng.normal(size=FEATURES)
    spread = noise * np.sqrt(np.square(mixing).sum(axis=0))

    def encode(latent: Floats) -> Descriptors:
        seen: Floats = latent @ mixing + offset + spread * rng.normal(size=(len(latent), FEATURES))
        found: Descriptors = seen.astype(np.float32)
        return found

    return encode


def labelled_slices(rng: np.random.Generator, slices: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    latent = rng.normal(size=(slices, LATENT))
    logits = 2.0 * latent[:, 0] - 1.5 * latent[:, 1] + latent[:, 2] - 1.0
    return latent, (rng.random(slices) < 1.0 / (1.0 + np.exp(-logits))).astype(np.int64)


def related(rng: np.random.Generator, slices: int, size: int, other: int) -> tuple[Descriptors, Descriptors]:
    source = rng.normal(size=(slices, size)) @ np.random.default_rng(1).normal(size=(size, size)) + 3.0
    clean = source @ np.random.default_rng(2).normal(size=(size, other)) / np.sqrt(size)
    target = clean + 2.0 * rng.normal(size=clean.shape)
    return source.astype(np.float32), target.astype(np.float32)


def head_scores(
    learnt_on: Descriptors, labels: npt.NDArray[np.int64], new: Descriptors, new_labels: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Returns AUROC and log loss, on new slices, of a logistic regression that stands for stage 2."""
    scale = sklearn.preprocessing.StandardScaler()
    head = sklearn.pipeline.make_pipeline(scale, sklearn.linear_model.LogisticRegression(max_iter=1000))
    probabilities = head.fit(learnt_on, labels).predict_proba(new)[:, 1]
    return (
        float(sklearn.metrics.roc_auc_score(new_labels, probabilities)),
        float(sklearn.metrics.log_loss(new_labels, probabilities)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_head_learnt_on_aligned_folds_reads_the_final_encoder_as_well_as_one_learnt_on_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    final = mixing_encoder(rng, noise=0.2)
    latent, labels = labelled_slices(rng, 4000)
    new_latent, new_labels = labelled_slices(rng, 8000)
    of_final, of_new = final(latent), final(new_latent)
    folds = np.arange(len(latent)) % FOLDS
    aligned, unaligned = np.empty_like(of_final), np.empty_like(of_final)
    for fold in range(FOLDS):
        of_fold = mixing_encoder(rng, noise=0.2)(latent)
        seen, unseen = folds != fold, folds == fold
        aligned[unseen] = fit_alignment(of_fold[seen], of_final[seen]).apply(of_fold[unseen])
        unaligned[unseen] = of_fold[unseen]
    auroc, log_loss = head_scores(of_final, labels, of_new, new_labels)
    assert auroc > 0.85
    assert head_scores(aligned, labels, of_new, new_labels) == pytest.approx((auroc, log_loss), abs=0.01)
    worse_auroc, worse_log_loss = head_scores(unaligned, labels, of_new, new_labels)
    assert worse_auroc < auroc - 0.1
    assert worse_log_loss > log_loss + 0.1


def test_a_head_gains_by_the_restored_variance() -> None:
    rng = np.random.default_rng(12)
    first, second = mixing_encoder(rng, noise=1.0), mixing_encoder(rng, noise=1.0)
    latent, labels = labelled_slices(rng, 4000)
    new_latent, new_labels = labelled_slices(rng, 8000)
    source, target, new = first(latent), second(latent), second(new_latent)
    _, restored = head_scores(fit_alignment(source, target).apply(source), labels, new, new_labels)
    shrunk_features = sklearn.linear_model.LinearRegression().fit(source, target).predict(source)
    _, shrunk = head_scores(shrunk_features, labels, new, new_labels)
    assert restored < shrunk - 0.02


def test_an_affine_map_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(300, 12)).astype(np.float32)
    target = (source @ rng.normal(size=(12, 7)) + rng.normal(size=7)).astype(np.float32)
    alignment = fit_alignment(source, target)
    aligned = alignment.apply(source)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(aligned, target, atol=1e-4)
    assert explained_variance(alignment, source, target) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("slices", "size"), [(400, 20), (100, 60), (40, 60)])
def test_it_predicts_new_slices_as_well_as_ridge_regression_of_scikit_learn(slices: int, size: int) -> None:
    rng = np.random.default_rng(3)
    source, target = related(rng, slices, size, 15)
    new_source, new_target = related(rng, 2000, size, 15)
    scale = sklearn.preprocessing.StandardScaler().fit(source)
    reference = sklearn.linear_model.RidgeCV(PENALTIES * slices, alpha_per_target=True)
    predicted = reference.fit(scale.transform(source), target).predict(scale.transform(new_source))
    correlations = [np.corrcoef(predicted[:, index], new_target[:, index])[0, 1] for index in range(15)]
    expected = np.average(np.square(correlations), weights=new_target.var(axis=0))
    # It leaves single slices out; generalised cross-validation only does so on average.
    assert explained_variance(fit_alignment(source, target), new_source, new_target) == pytest.approx(
        expected, abs=0.02
    )


@pytest.mark.parametrize(("slices", "size"), [(400, 20), (40, 60)])
def test_every_feature_takes_the_penalty_of_the_least_cross_validation_score(slices: int, size: int) -> None:
    source, target = related(np.random.default_rng(4), slices, size, 5)
    scale = sklearn.preprocessing.StandardScaler().fit(source.astype(np.float64))
    standardised, centred = scale.transform(source.astype(np.float64)), target - target.mean(axis=0, dtype=np.float64)
    scores, predictions = [], []
    for penalty in PENALTIES * slices:
        inverse = np.linalg.inv(standardised @ standardised.T + penalty * np.eye(slices))
        residuals = penalty * inverse @ centred
        freedom = penalty * np.trace(inverse) - 1.0
        scores.append(np.square(residuals).sum(axis=0) / freedom**2)
        predictions.append(centred - residuals)
    best = np.argmin(scores, axis=0)
    expected = np.stack([predictions[row][:, index] for index, row in enumerate(best)], axis=1)
    expected *= centred.std(axis=0) / expected.std(axis=0)
    aligned = fit_alignment(source, target).apply(source) - target.mean(axis=0)
    np.testing.assert_allclose(aligned, expected, atol=1e-3)


def test_aligned_features_vary_as_much_as_real_ones() -> None:
    source, target = related(np.random.default_rng(6), 500, 10, 6)
    alignment = fit_alignment(source, target)
    assert explained_variance(alignment, source, target) < 0.9
    np.testing.assert_allclose(alignment.apply(source).std(axis=0), target.std(axis=0), rtol=1e-4)


@settings(deadline=None, max_examples=25)  # the machine may be busy
@given(st.integers(0, 2**32), st.lists(st.floats(-3, 3), min_size=8, max_size=8), st.floats(-3, 3))
def test_units_and_offsets_play_no_part(seed: int, powers: list[float], power: float) -> None:
    rng = np.random.default_rng(seed)
    source, target = related(rng, 100, 8, 4)
    factors = 10.0 ** np.array(powers)
    other_source = ((source - 3.0) * factors).astype(np.float32)
    other_target = (target * 10.0**power).astype(np.float32)
    aligned = fit_alignment(source, target).apply(source)
    other = fit_alignment(other_source, other_target).apply(other_source)
    np.testing.assert_allclose(other / 10.0**power, aligned, atol=0.01)


def test_constant_features_are_harmless() -> None:
    source, target = related(np.random.default_rng(7), 200, 10, 6)
    expected = fit_alignment(source, target).apply(source)
    constant = np.full((200, 1), 0.7, dtype=np.float32)
    alignment = fit_alignment(np.hstack([constant, source, 0 * constant]), np.hstack([target, constant]))
    # Where the dead features come to life, they still say nothing.
    alive = np.hstack([constant + 100, source, constant + 100])
    np.testing.assert_allclose(alignment.apply(alive), np.hstack([expected, constant]), rtol=1e-5, atol=1e-5)


def test_what_does_not_vary_is_not_explained() -> None:
    constant = np.full((20, 3), 0.1, dtype=np.float32)
    source, target = related(np.random.default_rng(8), 20, 4, 3)
    assert explained_variance(fit_alignment(source, target), source, np.zeros_like(target)) == 0.0
    alignment = fit_alignment(constant, target)
    np.testing.assert_allclose(alignment.apply(constant), np.tile(target.mean(axis=0), (20, 1)), rtol=1e-5)
    assert explained_variance(alignment, constant, target) == 0.0


def test_one_slice_gives_the_offset_alone() -> None:
    source, target = related(np.random.default_rng(9), 1, 4, 3)
    alignment = fit_alignment(source, target)
    np.testing.assert_array_equal(alignment.matrix, 0.0)
    np.testing.assert_array_equal(alignment.apply(source), target)


def test_unrelated_descriptors_explain_next_to_nothing_of_new_slices() -> None:
    rng = np.random.default_rng(10)
    source, target, new_source, new_target = rng.normal(size=(4, 500, 20)).astype(np.float32)
    assert explained_variance(fit_alignment(source, target), new_source, new_target) < 0.02


def test_slices_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = related(np.random.default_rng(11), 100, 6, 5)
    whole = fit_alignment(source, target)
    share = explained_variance(whole, source, target)
    monkeypatch.setattr(module, "_BLOCK", 33)
    blocks = fit_alignment(source, target)
    np.testing.assert_allclose(blocks.matrix, whole.matrix, atol=1e-9)
    assert explained_variance(whole, source, target) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("source", "target"), [((3, 2), (4, 2)), ((0, 2), (0, 2)), ((3,), (3, 2)), ((3, 2), (3, 2, 1))], ids=str
)
def test_shapes_that_do_not_fit_are_refused(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the same slices"):
        fit_alignment(np.zeros(source, dtype=np.float32), np.zeros(target, dtype=np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    good, bad = np.ones((3, 2), dtype=np.float32), np.full((3, 2), value, dtype=np.float32)
    for source, target in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="finite"):
            fit_alignment(source, target)


def test_an_alignment_maps_between_sizes() -> None:
    alignment = Alignment(np.array([1.0, 2.0]), np.array([5.0, 6.0, 7.0]), np.array([[1.0, 0, 2], [0, 3, 0]]))
    mapped = alignment.apply(np.array([[2.0, 4.0]], dtype=np.float32))
    np.testing.assert_array_equal(mapped, np.array([[6.0, 12.0, 9.0]], dtype=np.float32))
