from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.fusion import build_head
from slicewise.models.heads import chain
from slicewise.models.heads.chain import Chain

L = 2


def make_chain(seed: int = 0, unit: float = 5.0) -> Chain:
    torch.manual_seed(seed)
    head = build_head(FusionConfig(name="chain"), descriptor_size=3, summary_size=0, labels=L)
    assert isinstance(head, Chain)
    for values in head.parameters():
        torch.nn.init.normal_(values, std=0.5)
    head.fit_scale(torch.zeros(1, 3), unit)
    return head.eval()


def make_series(slices: int, seed: int = 0) -> SliceFeatures:
    generator = torch.Generator().manual_seed(seed)
    return SliceFeatures.of_one_series(
        torch.zeros(slices, 3),
        3 * torch.randn(slices, L, generator=generator),
        torch.zeros(slices, 0),
        torch.cumsum(0.5 + 9 * torch.rand(slices, generator=generator), dim=0),
    )


def by_enumeration(head: Chain, features: SliceFeatures, label: int) -> npt.NDArray[np.float64]:
    """Sums over every sequence of states."""
    first, end, further = head.log_rates[label].exp().tolist()
    generator = np.array([[-first, first, 0.0], [0.0, -end, end], [0.0, further, -further]])
    start = head.start[label].softmax(0).detach().numpy()
    evidence = (features.slice_logits[0, :, label] * head.scale[label] + head.bias[label]).detach().numpy()
    positions = features.positions[0].numpy().astype(np.float64) / float(head.unit)
    moves = [expm(generator * step) for step in np.diff(positions)]
    joint = np.zeros((len(positions), 3))
    for states in itertools.product(range(3), repeat=len(positions)):
        weight = start[states[0]] * np.exp(sum(evidence[i] for i, state in enumerate(states) if state == 1))
        for move, (left, right) in zip(moves, itertools.pairwise(states), strict=True):
            weight *= move[left, right]
        for i, state in enumerate(states):
            joint[i, state] += weight
    return np.log(joint[:, 1]) - np.log(joint[:, 0] + joint[:, 2])


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_posterior_is_that_of_all_sequences_of_states(slices: int, seed: int) -> None:
    head, features = make_chain(seed), make_series(slices, seed)
    logits = head(features)[0].detach().numpy()
    for label in range(L):
        np.testing.assert_allclose(logits[:, label], by_enumeration(head, features, label), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("slices", [1, 2, 3, 31, 64, 300])
@torch.no_grad()
def test_the_unrolled_form_of_the_exported_graph_is_the_loop(slices: int) -> None:
    head, features = make_chain(), make_series(slices)
    links = head._links((features.slice_logits * head.scale)[:, :, None], features)
    after = chain._after(links, features)
    unrolled = chain._posterior_by_doubling(links, after, features)
    torch.testing.assert_close(unrolled, chain._posterior_by_loop(links, after), rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_slices_far_apart_say_nothing_of_each_other() -> None:
    head = make_chain()
    near, far = make_series(2), make_series(2)
    far = far._replace(positions=torch.tensor([[0.0, 5000.0]]))
    other = far._replace(slice_logits=far.slice_logits * torch.tensor([[[1.0], [-5.0]]]))
    # A chain that has ended does not begin for the first time: only rates back and forth make states forget.
    head.log_rates.fill_(0.0)
    head.start.copy_(torch.tensor([-20.0, 0.0, 0.0]).repeat(L, 1))
    torch.testing.assert_close(head(other)[0, 0], head(far)[0, 0], rtol=1e-3, atol=1e-3)
    changed = near._replace(slice_logits=other.slice_logits)
    assert (head(changed)[0, 0] - head(near)[0, 0]).abs().max() > 0.1


@torch.no_grad()
def test_one_strange_slice_within_a_run_is_outvoted() -> None:
    head = build_head(FusionConfig(name="chain"), descriptor_size=3, summary_size=0, labels=1)
    head.fit_scale(torch.zeros(1, 3), 5.0)
    logits = torch.tensor([-4.0, -4.0, -4.0, 4.0, 4.0, -2.0, 4.0, 4.0, -4.0, -4.0, -4.0])
    series = SliceFeatures.of_one_series(
        torch.zeros(11, 3), logits[:, None], torch.zeros(11, 0), 5.0 * torch.arange(11.0)
    )
    found = head(series)[0, :, 0]
    assert found[5] > found[[0, 1, 9, 10]].max() + 1
    assert found[5] < found[[3, 4, 6, 7]].min()


@torch.no_grad()
def test_thinner_slices_of_the_same_head_say_the_same() -> None:
    """Twice as many slices with half the evidence each give nearly the same posterior: rates are in millimetres."""
    head = make_chain()
    head.bias.zero_()
    # As the defaults have it: a run every few slices.
    head.log_rates.copy_(torch.tensor([0.3, 0.3, 0.1]).log().repeat(L, 1))
    thick = make_series(12)._replace(positions=5.0 * torch.arange(12.0)[None])
    thin = SliceFeatures.of_one_series(
        torch.zeros(24, 3),
        thick.slice_logits[0].repeat_interleave(2, dim=0) / 2,
        torch.zeros(24, 0),
        2.5 * torch.arange(24.0),
    )
    middles = head(thin)[0].unflatten(0, (12, 2)).mean(dim=1)
    assert torch.corrcoef(torch.stack([middles.flatten(), head(thick)[0].flatten()]))[0, 1] > 0.97


def test_extreme_values_stay_finite() -> None:
    head, features = make_chain(), make_series(40)
    for scale in (0.0, 1e3):
        logits = head(features._replace(slice_logits=features.slice_logits * scale))
        assert torch.isfinite(logits).all()
    with torch.no_grad():
        head.log_rates.fill_(30.0)
    crowded = features._replace(positions=torch.zeros_like(features.positions))
    loss = head(crowded).sum()
    loss.backward()
    assert all(torch.isfinite(values.grad).all() for values in head.parameters() if values.grad is not None)
