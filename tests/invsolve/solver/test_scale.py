"""Measurements of images on another scale are warned of."""

from __future__ import annotations

import warnings

import pytest
import torch
from solver_cases import OPERATORS, SHAPE, seeded

from invsolve import Settings, solve
from invsolve.priors.gaussian import GaussianPrior
from invsolve.solver.scale import ScaleWarning
from operators import Identity, Poisson

PRIOR = GaussianPrior(torch.zeros(SHAPE), 0.1 * torch.eye(3 * 16 * 12))


def picture() -> torch.Tensor:
    """From black to white."""
    return torch.cos(torch.linspace(0, 2 * torch.pi, 17)[:16])[:, None].expand(1, 1, 16, 12)


def measured(name: str, x: torch.Tensor, sigma_y: float):
    operator = OPERATORS[name]()
    batch = operator.batch_size or 2
    noise = torch.randn(batch, *operator.out_shape, generator=seeded(1))
    return operator, operator.measure(x.expand(batch, *SHAPE), sigma_y, lambda shape: noise)


@pytest.mark.parametrize("name", ["one mask", "a mask per image", "a kernel per image"])
def test_other_scales_are_warned_of_and_the_right_one_is_not(name):
    x = picture()
    with warnings.catch_warnings(action="error", category=ScaleWarning):
        operator, y = measured(name, x, 0.05)
        solve(y, operator, 1, prior=PRIOR, settings=Settings())
    _, y = measured(name, 127.5 * (x + 1), 6.0)
    with pytest.warns(
        ScaleWarning, match=r"y reaches \d+ times what a white image gives: is it of images on \[-1, 1\]"
    ):
        solve(y, operator, 1, prior=PRIOR, settings=Settings())
    _, y = measured(name, (x + 1) / 2, 0.025)
    with pytest.warns(ScaleWarning, match=r"y lies between 0.* and .* times what a white image gives"):
        solve(y, operator, 1, 0.025, prior=PRIOR, settings=Settings())


@pytest.mark.parametrize("level", [-1.0, 0.0, 0.3, 1.0])
def test_flat_pictures_are_not_warned_of(level):
    with warnings.catch_warnings(action="error", category=ScaleWarning):
        operator, y = measured("blur", torch.full((1, 1, 16, 12), level), 0.05)
        solve(y, operator, 1, prior=PRIOR, settings=Settings())


def test_much_noise_is_not_warned_of():
    """Counts of photons end at black, and their noise seems to reach from there to gray."""
    operator = Identity(SHAPE)
    y = operator.measure(
        picture().expand(1, *SHAPE), Poisson(12), lambda shape: torch.randn(1, *shape, generator=seeded(1))
    )
    assert y.min() == -1
    with warnings.catch_warnings(action="error", category=ScaleWarning):
        solve(y, operator, 1, 0.38, prior=PRIOR, settings=Settings())
