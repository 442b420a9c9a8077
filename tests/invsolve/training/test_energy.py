"""The energy score and the spread of pairs of samples: their formulas, what they are least at, their gradients."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from invsolve.specs.recipe import ScoreConfig
from invsolve.training.energy import band_energies, energy_score, log_spread, score_loss

PATCHES, SCALES = (1, 2), (1, 2, 4)


def three(count: int, side: int = 8, seed: int = 0) -> Tensor:
    """Three sets of correlated images ``[3, count, 2, side, side]``, independent and of one law."""
    noise = torch.randn(3 * count, 2, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    coarse = F.interpolate(noise[..., ::4, ::4], scale_factor=4)
    return (0.5 * noise + coarse).unflatten(0, (3, count))


def test_the_score_is_the_written_out_one():
    x, first, second = three(2)
    expected = []
    for k, p in product(SCALES, PATCHES):
        total = []
        for i, j in product(range(0, 8, k * p), repeat=2):
            patches = [
                image[..., i : i + k * p, j : j + k * p].unflatten(-1, (p, k)).unflatten(-3, (p, k)).mean((-1, -3))
                for image in (x, first, second)
            ]
            norm = [(a - b).flatten(1).norm(dim=1) for a, b in zip(patches, patches[1:] + patches[:1], strict=True)]
            total.append((norm[0] + norm[2] - norm[1]) / 2 / math.sqrt(2 * p * p))
        expected.append(math.sqrt(k) * torch.stack(total).mean(0))
    found = energy_score(x, first, second, PATCHES, SCALES)
    assert (found - torch.stack(expected).mean(0)).abs().max() < 1e-6


def test_the_score_is_least_at_the_truth():
    """By more than its Monte Carlo error: than of samples too much or too little alike, biased, or not correlated."""
    x, first, second = three(4000)
    shuffled = [each[..., torch.randperm(8)][..., torch.randperm(8), :] for each in (first, second)]
    others = {
        "too narrow": (0.7 * first, 0.7 * second),
        "too wide": (1.4 * first, 1.4 * second),
        "the same": (first, first),
        "the mean": (0 * first, 0 * first),
        "biased": (first + 0.3, second + 0.3),
        "of the same pixels, not correlated": shuffled,
    }
    truth = energy_score(x, first, second, PATCHES, SCALES)
    for name, pair in others.items():
        excess = energy_score(x, *pair, PATCHES, SCALES) - truth
        assert excess.mean() > 5 * excess.std() / math.sqrt(len(x)), name


def test_the_bands_share_an_images_energy():
    x = three(3)[0]
    assert (band_energies(x, SCALES).sum(1) - x.square().flatten(1).mean(1)).abs().max() < 1e-8
    constant, checks = torch.ones(1, 2, 8, 8), torch.ones(1, 2, 8, 8)
    checks[..., (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 1] = -1
    assert (band_energies(constant, SCALES) - torch.tensor([[0.0, 0.0, 1.0]])).abs().max() < 1e-6
    assert (band_energies(checks, SCALES) - torch.tensor([[1.0, 0.0, 0.0]])).abs().max() < 1e-6


def test_true_samples_have_no_lack_of_spread_in_any_band():
    x, first, second = three(4000)
    found = log_spread(x, first, second, SCALES)
    assert (found.mean(0).abs() < 5 * found.std(0) / math.sqrt(len(x))).all()
    assert (log_spread(x, x + 0.1 * first, x + 0.1 * second, SCALES).mean(0) > 0.3).all()  # errors of 0.1, spread 0.14
    large = three(40, side=64)
    narrow = log_spread(large[0], 0.7 * large[1], 0.7 * large[2], SCALES).mean(0)
    assert (narrow - math.log(2 * 0.49 / 1.49)).abs().max() < 0.05


def test_the_loss_adds_the_spread_with_a_weight_that_falls():
    x, first, second = three(5, side=16)
    s, c = torch.linspace(0.1, 3, 5, dtype=torch.float64), ScoreConfig(patches=(1, 2), exchange_steps=10)
    weight = (s**2 + 0.25).sqrt() / (0.5 * s)
    score = weight * energy_score(x, first, second, (1, 2), c.scales)
    spread = log_spread(x, first, second, c.scales).square().sum(1)
    for step, left in ((1, 0.9), (5, 0.5), (10, 0.0), (11, 0.0)):
        assert (score_loss(x, first, second, s, 0.5, c, step) - score - 0.1 * left * spread).abs().max() < 1e-12
    stays = ScoreConfig(patches=(1, 2))
    assert (score_loss(x, first, second, s, 0.5, stays, 10**6) - score - 0.1 * spread).abs().max() < 1e-12


@pytest.mark.parametrize("same", [False, True])
def test_both_samples_have_a_gradient(same):
    """A finite one where they are the same as well; at the truth itself too."""
    x, first, second = three(2, side=32)
    pair = [(x if same else each).clone().requires_grad_() for each in (first, second)]
    gradients = torch.autograd.grad(score_loss(x, *pair, x.new_ones(2), 0.5, ScoreConfig(), 1).sum(), pair)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all((gradient.abs().amax((1, 2, 3)) > 0).all() for gradient in gradients) != same


def test_the_gradient_of_the_spread_moves_no_mean():
    x, first, second = three(2)
    pair = [each.clone().requires_grad_() for each in (first, second)]
    left, right = torch.autograd.grad(log_spread(x, *pair, SCALES).square().sum(), pair)
    assert left.abs().max() > 1e-3
    assert (left + right).abs().max() < 1e-12
