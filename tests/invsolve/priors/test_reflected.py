"""A denoiser that sees beyond the edges."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, pad

from invsolve.priors.denoiser import GenerativeDenoiser
from invsolve.priors.reflected import Reflected, with_reflection
from invsolve.priors.registry import load_prior


class Blur(nn.Module):
    """A stand-in for a denoiser: a mean over 5x5 pixels, what lies beyond the edges being black as to convolutions."""

    def forward(self, u, sigma, condition=None, sigma_condition=None):
        assert sigma.shape == (len(u),)
        seen = u if condition is None else (u + condition) / 2
        return conv2d(seen, torch.full((3, 1, 5, 5), 0.04, dtype=u.dtype), padding=2, groups=3)


@pytest.mark.parametrize("size", [(9, 12), (3, 20), (1, 1)])
def test_images_go_on_by_reflection(size):
    u = torch.rand(2, 3, *size, dtype=torch.float64)
    found = Reflected(Blur(), 2)(u, 0.1)
    assert found.shape == u.shape
    if min(size) > 2:
        wanted = avg_pool2d(pad(u, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
        assert (found - wanted).abs().max() < 1e-12
    both = Reflected(Blur(), 2)(u, 0.1, u.flip(0), torch.tensor([0.1, 0.2]))
    assert (both - Reflected(Blur(), 2)((u + u.flip(0)) / 2, 0.1)).abs().max() < 1e-12


def test_a_prior_sees_beyond_the_edges(tiny_prior):
    """By its own denoiser, with the same noise: inside it samples as before."""
    prior, plain = with_reflection(load_prior(tiny_prior)), load_prior(tiny_prior)
    assert isinstance(prior, GenerativeDenoiser)
    u, z = torch.rand(1, 3, 96, 96), torch.randn(1, 3, 96, 96)
    difference = (prior(u, 0.3, z) - plain(u, 0.3, z)).abs().amax(dim=(0, 1))
    assert difference[:2].max() > 1e-4
    assert difference[40:56, 40:56].max() < 1e-4


def test_both_networks_of_a_prior_see_it(tiny_prior):
    prior = load_prior(tiny_prior)
    prior.estimator = load_prior(tiny_prior).denoiser
    assert all(isinstance(with_reflection(prior).get_submodule(name), Reflected) for name in ("denoiser", "estimator"))


def test_a_prior_of_one_size_is_left_as_it_is(tiny_prior):
    prior = load_prior(tiny_prior)
    prior.denoiser.fixed, before = True, prior.denoiser
    assert with_reflection(prior).denoiser is before


@pytest.mark.slow
def test_the_default_priors_error_at_the_edges_is_that_inside():
    """Nearly, on flat pictures."""
    prior, plain = with_reflection(load_prior()), load_prior()
    generator = torch.Generator().manual_seed(0)
    edge = torch.ones(96, 96, dtype=bool)
    edge[8:-8, 8:-8] = False
    for sigma in (0.05, 0.3):
        u = 0.5 + sigma * torch.randn(4, 3, 96, 96, generator=generator)
        with torch.no_grad():
            errors = [(each(u, sigma, torch.zeros_like(u), gamma=0.0) - 0.5).square() for each in (prior, plain)]
        ratios = [(e[..., edge].mean() / e[..., ~edge].mean()).sqrt() for e in errors]
        assert ratios[0] < 1.4
        assert ratios[1] > 1.5
