"""The figures that ``benchmarks/auxt.py`` compares: its loss in closed form, and where a curve reaches a value."""

from __future__ import annotations

import math

import pytest
import torch
from benchmark_scripts import load_script

from invsolve.specs.recipe import TrainConfig


@pytest.fixture(scope="module")
def benchmark():
    return load_script("auxt")


class Shrinkage:
    """The posterior mean of white pixels of standard deviation 0.5, as if it were a network's."""

    sigma_data = 0.5

    def __call__(self, u, sigma):
        return u * (0.25 / (0.25 + sigma**2))


def test_the_loss_of_a_network_that_outputs_nothing_is_one(benchmark):
    """``c_skip u`` alone is optimal for white data: its error, sd² s² / (sd² + s²), times EDM's weight is 1."""
    white = 0.5 * torch.randn(400, 3, 16, 16, generator=torch.Generator().manual_seed(100))
    loss = benchmark.validation_loss(Shrinkage(), white, [0.05, 0.5, 3.0])
    assert loss == pytest.approx(1, abs=4 * math.sqrt(2 / white.numel()))


def test_the_levels_are_the_deciles_of_the_training(benchmark):
    levels = torch.tensor(benchmark.levels(TrainConfig(sigma_mean=-0.9, sigma_std=1.5)))
    quantiles = torch.special.ndtr((levels.double().log() + 0.9) / 1.5)
    assert (quantiles - (torch.arange(10) + 0.5) / 10).abs().max() < 1e-6


def test_the_images_that_a_curve_needs(benchmark):
    reach = benchmark.images_to_reach
    assert reach(0.5, [100, 200, 300], [0.9, 0.6, 0.4]) == pytest.approx(250)
    assert reach(0.9, [100, 200, 300], [0.8, 0.6, 0.4]) == 100
    assert reach(0.3, [100, 200, 300], [0.8, 0.6, 0.4]) == math.inf
