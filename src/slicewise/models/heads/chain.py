"""A Markov chain along the axis on top of a head: findings come in runs, and a run has a length in millimetres.

For every label a slice is in one of three states: before the first run of slices with the finding, within a run, after
one. The states follow a Markov process in continuous time along the axis, so the distance of two slices decides how
far one speaks for the other, whatever the thickness: rates are per millimetre (or per index), and learned. The logits
of the head are the evidence of each slice. What comes out is the posterior of "within a run" given all slices, exact,
by the sum-product algorithm (a conditional random field, Lafferty et al. 2001, with the potentials of a Markov jump
process). A label has eight parameters, which a few dozen series are enough to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import steps
from slicewise.models.heads.base import FusionHead

BEFORE, WITHIN, AFTER = range(3)
STATES = 3
# exp(Q d) is a Taylor series of exp(Q d / 2^SQUARINGS), squared so many times.
_SQUARINGS = 8
_LONGEST, _FASTEST = 20.0, 10.0
_SMALLEST = 1e-12
_NEVER = -1e4
DOUBLINGS = 10
"""The exported graph has no loops: it is unrolled to look 2^10 slices back, beyond which no series begins."""

_START_RATE, _AGAIN_RATE = 0.3, 0.1
"""Initial rates, in switches a typical distance of adjacent slices."""


class Chain(FusionHead):
    """The posterior of a Markov chain whose evidence is what a head says.

    Args:
        head: The head.
    """

    unit: Tensor

    def __init__(self, head: FusionHead) -> None:
        super().__init__(
            head.config,
            descriptor_size=head.descriptor_size,
            summary_size=head.summary_size,
            labels=head.labels,
        )
        self.head = head
        self.register_buffer("unit", torch.ones(()))
        self.scale = nn.Parameter(torch.full((head.labels,), 0.5))
        self.bias = nn.Parameter(torch.zeros(head.labels))
        initial = torch.tensor([_START_RATE, _START_RATE, _AGAIN_RATE]).log()
        self.log_rates = nn.Parameter(initial.repeat(head.labels, 1))
        self.start = nn.Parameter(torch.tensor([2.0, 0.0, -2.0]).repeat(head.labels, 1))

    def fit_scale(self, descriptors: Tensor, spacing: float) -> None:
        """Takes the typical distance as the unit of the rates."""
        self.unit.fill_(spacing)
        self.head.fit_scale(descriptors, spacing)

    def member_logits(self, features: SliceFeatures) -> Tensor:
        """Returns the posterior of every member of the head, shape (members, B, S, L)."""
        evidence = self.head.member_logits(features).permute(1, 2, 0, 3)
        return self._posterior(evidence, features).permute(2, 0, 1, 3)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        return self._posterior(self.head(features)[:, :, None], features)[:, :, 0]

    def _posterior(self, logits: Tensor, features: SliceFeatures) -> Tensor:
        """Returns the logits of "within a run" given those of the head, both of shape (B, S, members, L)."""
        links = self._links(logits * self.scale + self.bias, features)
        after = _after(links, features)
        # A graph for any number of slices cannot hold a loop over them.
        known = isinstance(features.mask.shape[1], int)
        states = _posterior_by_loop(links, after) if known else _posterior_by_doubling(links, after, features)
        return states[..., WITHIN] - torch.logaddexp(states[..., BEFORE], states[..., AFTER])

    def _links(self, evidence: Tensor, features: SliceFeatures) -> Tensor:
        """Returns log potentials from the state of the slice below to that of each slice, (B, S, members, L, 3, 3)."""
        distance = features.positions[:, 1:] - features.positions[:, :-1]
        distance = nn.functional.pad(distance / self.unit, (1, 0))
        # Where the clamps act, nothing is left to know over such a distance.
        distance = distance.clamp_min(0.0).clamp_max(_LONGEST)
        moves = _transitions(self.log_rates.exp().clamp_max(_FASTEST), distance).clamp_min(_SMALLEST).log()
        start = self.start.log_softmax(dim=-1)[None, None, :, None, :].expand_as(moves)
        moves = torch.where((steps(features) == 0)[..., None, None, None], start, moves)[:, :, None]
        of_state = torch.stack([torch.zeros_like(evidence), evidence, torch.zeros_like(evidence)], dim=-1)
        return _or_identity(moves + of_state[..., None, :], features.mask)


def _after(links: Tensor, features: SliceFeatures) -> Tensor:
    """Returns for every slice the link to the next one, the identity for the last."""
    following = torch.cat([links[:, 1:], links[:, :1]], dim=1)
    return _or_identity(following, steps(features) + 1 < features.lengths[:, None])


def _transitions(rates: Tensor, distance: Tensor) -> Tensor:
    """Returns the probabilities of the states at the end of a distance by those at its beginning.

    Args:
        rates: Of the first run, of the end of a run, and of a further run, shape (L, 3), per unit.
        distance: Shape (B, S), in units.

    Returns:
        exp(Q d), shape (B, S, L, 3, 3).
    """
    first, end, further = rates.unbind(dim=-1)
    none = torch.zeros_like(first)
    generator = torch.stack([-first, first, none, none, -end, end, none, further, -further], dim=-1)
    part = generator.reshape(-1, STATES, STATES) * (distance / 2**_SQUARINGS)[..., None, None, None]
    result: Tensor = torch.eye(STATES) + part + part @ part / 2
    for _ in range(_SQUARINGS):
        result = result @ result
    return result


def _posterior_by_loop(links: Tensor, after: Tensor) -> Tensor:
    """Returns the logarithms of the joint probabilities of evidence and state, (..., 3), by messages both ways."""
    # The first link leaves no choice of the state before it: every row of it is the same.
    ahead = [links[:, 0, ..., 0, :]]
    behind = [torch.zeros_like(ahead[0])]
    for link in links[:, 1:].unbind(dim=1):
        ahead.append((ahead[-1][..., :, None] + link).logsumexp(dim=-2))
    for link in reversed(after[:, :-1].unbind(dim=1)):
        behind.append((behind[-1][..., None, :] + link).logsumexp(dim=-1))
    return torch.stack(ahead, dim=1) + torch.stack(behind[::-1], dim=1)


def _posterior_by_doubling(links: Tensor, after: Tensor, features: SliceFeatures) -> Tensor:
    """Returns what `_posterior_by_loop` does, from products of all links up to a slice over strides that double."""
    index = steps(features)[0]
    shape = links.shape
    # The way back is the way ahead of the series turned round, with transposed links. Members, labels and both ways lie
    # side by side on one axis: engines are at home with few axes.
    chains = torch.cat([links.flatten(2, 3), after.flip(1).transpose(-1, -2).flatten(2, 3)], dim=2)
    for doubling in range(DOUBLINGS):
        stride = 2**doubling
        before = chains[:, (index - stride).clamp_min(0)]
        chains = torch.where((index >= stride).reshape(1, -1, 1, 1, 1), _join(before, chains), chains)
    ahead, behind = chains.chunk(2, dim=2)
    states = ahead[..., 0, :] + behind.logsumexp(dim=-2).flip(1)
    return states.reshape(shape[:-1])


def _join(left: Tensor, right: Tensor) -> Tensor:
    """Multiplies matrices (..., 3, 3) of logarithms."""
    return (left[..., :, :, None] + right[..., None, :, :]).logsumexp(dim=-2)


def _or_identity(links: Tensor, mask: Tensor) -> Tensor:
    identity = _NEVER * (1.0 - torch.eye(STATES))
    return torch.where(mask[..., None, None, None, None], links, identity)
