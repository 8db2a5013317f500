from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from slicewise.config import FusionConfig, FusionInputs
from slicewise.errors import ConfigError
from slicewise.models.features import SliceFeatures
from slicewise.models.fusion import HEADS, FusionHead, build_head
from slicewise.models.heads.ensemble import Ensemble
from slicewise.models.heads.inputs import ProjectedHead

D, L, M = 12, 4, 3
INPUTS: tuple[FusionInputs, ...] = ("descriptor", "differences", "pca", "compact")
READING = [name for name in HEADS if name not in {"none", "rolling", "chain"}]
"""Heads that read more than the slice logits."""


def make_head(
    name: str, *, inputs: FusionInputs = "descriptor", chain: bool = False, members: int = 1, seed: int = 0
) -> FusionHead:
    torch.manual_seed(seed)
    config = FusionConfig(name=name, inputs=inputs, components=5, hidden_size=8, chain=chain, members=members)
    head = build_head(config, descriptor_size=D, summary_size=M, labels=L)
    for values in head.parameters():
        torch.nn.init.normal_(values, std=0.3)
    return head.eval()


def make_features(lengths: list[int], *, seed: int = 0, padded_to: int | None = None) -> SliceFeatures:
    generator = torch.Generator().manual_seed(seed)
    size = padded_to or max(lengths)
    batch = len(lengths)
    mask = torch.arange(size)[None] < torch.tensor(lengths)[:, None]
    return SliceFeatures(
        descriptors=torch.randn(batch, size, D, generator=generator),
        slice_logits=torch.randn(batch, size, L, generator=generator),
        summaries=torch.randn(batch, size, M, generator=generator),
        positions=torch.cumsum(3 + torch.rand(batch, size, generator=generator), dim=1),
        mask=mask,
    )


def change(features: SliceFeatures, where: Tensor, value: float) -> SliceFeatures:
    def changed(values: Tensor) -> Tensor:
        return torch.where(where[..., None], torch.full_like(values, value), values)

    return SliceFeatures(
        descriptors=changed(features.descriptors),
        slice_logits=changed(features.slice_logits),
        summaries=changed(features.summaries),
        positions=changed(features.positions[..., None])[..., 0],
        mask=features.mask,
    )


@pytest.mark.parametrize(
    ("name", "inputs", "chain", "members"),
    [
        *((name, "descriptor", False, 1) for name in HEADS),
        *(("bigru", inputs, False, 1) for inputs in INPUTS),
        ("transformer", "compact", True, 3),
    ],
)
@torch.no_grad()
def test_padding_changes_no_output(name: str, inputs: FusionInputs, *, chain: bool, members: int) -> None:
    head = make_head(name, inputs=inputs, chain=chain, members=members)
    features = make_features([7, 3, 1], padded_to=9)
    logits = head(features)
    assert logits.shape == (3, 9, L)
    other_padding = head(change(features, ~features.mask, 1e3))
    torch.testing.assert_close(other_padding[features.mask], logits[features.mask], rtol=0, atol=0)
    for row, length in enumerate((7, 3, 1)):
        alone = head(
            SliceFeatures.of_one_series(
                features.descriptors[row, :length],
                features.slice_logits[row, :length],
                features.summaries[row, :length],
                features.positions[row, :length],
            )
        )
        torch.testing.assert_close(alone[0], logits[row, :length], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in HEADS if name not in {"chain", "chained", "wide-lstm"}])
@torch.no_grad()
def test_an_untrained_head_is_the_single_slice_baseline(name: str) -> None:
    head = build_head(FusionConfig(name=name), descriptor_size=D, summary_size=M, labels=L).eval()
    features = make_features([5, 4])
    torch.testing.assert_close(head(features)[features.mask], features.slice_logits[features.mask])


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("none", 0),
        ("chain", 6),
        ("rolling", 2),
        ("window", 2),
        ("conv", 6),
        ("bigru", 6),
        ("transformer", 6),
        ("chained", 6),
        ("wide-lstm", 6),
    ],
)
@torch.no_grad()
def test_how_far_a_head_sees(name: str, reach: int) -> None:
    head = make_head(name)
    features = make_features([13])
    middle = 6
    where = torch.zeros(1, 13, dtype=torch.bool)
    where[0, middle] = True
    moved = (head(change(features, where, 2.0)) - head(features)).abs().amax(dim=-1)[0]
    seen = {abs(index - middle) for index in range(13) if moved[index] > 0}
    assert seen == set(range(reach + 1))


@pytest.mark.parametrize("name", ["window", "bigru", "conv", "transformer"])
@torch.no_grad()
def test_distances_matter_but_the_origin_does_not(name: str) -> None:
    head = make_head(name)
    features = make_features([8])

    def moved(positions: Tensor) -> Tensor:
        logits: Tensor = head(
            SliceFeatures(features.descriptors, features.slice_logits, features.summaries, positions, features.mask)
        )
        return logits

    torch.testing.assert_close(moved(features.positions + 64.0), head(features), rtol=1e-4, atol=1e-4)
    assert (moved(features.positions * 2) - head(features)).abs().max() > 1e-3


@pytest.mark.parametrize("name", READING)
def test_descriptors_are_standardised_by_the_training_set(name: str) -> None:
    head = make_head(name)
    features = make_features([8])
    descriptors = features.descriptors * 50 + 7
    scaled = SliceFeatures(descriptors, features.slice_logits, features.summaries, features.positions, features.mask)
    with torch.no_grad():
        head.fit_scale(features.descriptors[0], 4.0)
        before = head(features)
        head.fit_scale(descriptors[0], 4.0)
        torch.testing.assert_close(head(scaled), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_compact_inputs_leave_the_descriptors_out(name: str) -> None:
    head = make_head(name, inputs="compact")
    features = make_features([8, 5])
    others = features._replace(descriptors=features.descriptors * 50 + 7)
    with torch.no_grad():
        before = head(features)
        torch.testing.assert_close(head(others), before, rtol=0, atol=0)
        head.fit_scale(others.descriptors[0], 1.0)
        torch.testing.assert_close(head(features), before, rtol=0, atol=0)
        # Of any encoder, then: also of one with more descriptors.
        wider = features._replace(descriptors=torch.randn(2, 8, D + 3))
        torch.testing.assert_close(head(wider), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("changed", ["slice_logits", "summaries"])
@torch.no_grad()
def test_compact_inputs_are_logits_and_summaries(name: str, changed: str) -> None:
    head = make_head(name, inputs="compact")
    features = make_features([8])
    other = features._replace(**{changed: getattr(features, changed) + 1.0})
    corrections = [head(item) - item.slice_logits for item in (features, other)]
    assert (corrections[0] - corrections[1]).abs().max() > 1e-3


def test_noise_and_dropout_act_in_training_alone() -> None:
    head = make_head("bigru")
    features = make_features([6])
    with torch.no_grad():
        torch.testing.assert_close(head(features), head(features), rtol=0, atol=0)
        head.train()
        assert (head(features) - head(features)).abs().max() > 1e-3


def test_an_unknown_head_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"'lstm'.*bigru, chain, chained, conv, none, rolling, transformer, wide-lstm, window"
    ):
        build_head(FusionConfig(name="lstm"), descriptor_size=D, summary_size=M, labels=L)


@torch.no_grad()
def test_a_head_of_several_members_is_their_mean() -> None:
    head = make_head("bigru", members=3)
    assert isinstance(head, Ensemble)
    features = make_features([6, 4])
    members = torch.stack([member(features) for member in head.members])
    torch.testing.assert_close(head.member_logits(features), members)
    torch.testing.assert_close(head(features), members.mean(dim=0))
    assert (members[0] - members[1]).abs().max() > 1e-2


@torch.no_grad()
def test_the_baseline_has_no_chain_whatever_the_task_wants() -> None:
    head = make_head("none", chain=True)
    features = make_features([5])
    torch.testing.assert_close(head(features), features.slice_logits, rtol=0, atol=0)
    assert head.config.is_baseline


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("name", ["none", "rolling", "chain"])
@torch.no_grad()
def test_heads_without_chance_have_no_members(name: str, *, chain: bool) -> None:
    head = make_head(name, members=3, chain=chain)
    assert head.member_logits(make_features([4])).shape == (1, 1, 4, L)


@torch.no_grad()
def test_principal_components_are_those_of_the_standardised_descriptors() -> None:
    head = make_head("window", inputs="pca")
    assert isinstance(head, ProjectedHead)
    generator = torch.Generator().manual_seed(3)
    descriptors = torch.randn(200, D, generator=generator) @ torch.randn(D, D, generator=generator) + 5
    head.fit_scale(descriptors, 5.0)
    standardised = ((descriptors - descriptors.mean(0)) / descriptors.std(0, unbiased=False)).numpy()
    _, _, rows = np.linalg.svd(standardised, full_matrices=False)
    overlaps = np.abs(rows[:5] @ head.projection.components.numpy())
    np.testing.assert_allclose(overlaps, np.eye(5), atol=1e-3)


def test_slices_are_dropped_whole_in_training_alone() -> None:
    torch.manual_seed(0)
    config = FusionConfig(
        name="window", inputs="descriptor", members=1, hidden_size=8, slice_dropout=0.5, dropout=0.0, noise=0.0
    )
    head = build_head(config, descriptor_size=D, summary_size=M, labels=L)
    assert isinstance(head, ProjectedHead)
    features = make_features([400])
    with torch.no_grad():
        projected = head.train().projection(features)[0]
        nothing = head.projection.linear(torch.zeros(D + L + M))
        dropped = (projected - torch.nn.functional.gelu(head.projection.norm(nothing))).abs().amax(dim=-1) < 1e-6
        assert 0.4 < dropped.float().mean() < 0.6
        torch.testing.assert_close(head.eval().projection(features), head.projection(features), rtol=0, atol=0)
