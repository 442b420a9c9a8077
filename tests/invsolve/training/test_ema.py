"""The power-function average against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from invsolve.training.ema import PowerEMA, exponent_of


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2, 0.28])
def test_the_exponent_gives_the_relative_width(std):
    """The standard deviation of the density ``t^gamma`` on (0, 1), computed by quadrature."""
    t = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    weights = t ** exponent_of(std)
    weights = weights / weights.sum()
    mean = weights @ t
    assert math.sqrt(weights @ (t - mean) ** 2) == pytest.approx(std, rel=1e-6)


@pytest.mark.parametrize("std", [0.0, -0.1, 0.3, float("nan")])
def test_an_impossible_width_is_refused(std):
    with pytest.raises(ValueError, match="relative width"):
        exponent_of(std)


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_the_average_is_the_weighted_sum_of_all_steps(std):
    """After n steps, ``sum_t c_t w_t``; for the recursion c_t = (1 - beta_t) prod_{s > t} beta_s, and the weight of
    the steps up to t is ``(t/n)^(gamma + 1)``: exactly the share of the density ``t^gamma`` up to t."""
    network = nn.Linear(3, 2, bias=True).double()
    average, steps = PowerEMA(network, std), 50
    stream = torch.Generator().manual_seed(0)
    history = torch.randn(steps, 2, 3, generator=stream, dtype=torch.float64)
    for step, weight in enumerate(history, start=1):
        with torch.no_grad():
            network.weight.copy_(weight)
        average.update(network, step)
    share = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (exponent_of(std) + 1)
    expected = torch.einsum("t,tij->ij", share.diff(), history)
    assert (average.network.weight - expected).abs().max() < 1e-12
    assert (average.network.bias - network.bias).abs().max() < 1e-14  # which never changed
    assert not average.network.weight.requires_grad
