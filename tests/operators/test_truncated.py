"""Truncated normal variables against SciPy's, in the body and far out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from operators.truncated import log_mass, truncated_normal

N = 20_000
BOUNDS = [
    (-1, 1),
    (-math.inf, math.inf),
    (-0.3, math.inf),
    (2, 3),
    (5, 9),
    (30, 31),
    (30, math.inf),
    (-31, -30),
    (-math.inf, -29.5),
    (30, 30.001),
    (0.5, 0.505),
    (100, 101),
]


def normals(dtype: torch.dtype) -> torch.Tensor:
    """Evenly spread over the law: sorted samples then lie on the quantiles."""
    shares = (torch.arange(N, dtype=torch.float64) + 0.5) / N
    return torch.special.ndtri(shares).to(dtype)


def distribution(z: np.ndarray, low: float, high: float) -> np.ndarray:
    """Phi between the bounds, on the side where it has digits."""
    if low > 0:
        return 1 - distribution(-z, -high, -low)
    top, bottom, here = (stats.norm.logcdf(value) for value in (high, low, z))
    return (np.exp(here - top) - np.exp(bottom - top)) / (1 - np.exp(bottom - top))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_samples_have_the_truncated_law(low, high, dtype):
    mean, std = 0.3, 2.0
    bounds = [torch.tensor(mean + std * bound, dtype=dtype) for bound in (low, high)]
    n = normals(dtype)
    u = truncated_normal(torch.tensor(mean, dtype=dtype), std, *bounds, n)
    assert u.isfinite().all()
    assert (u >= bounds[0]).all()
    assert (u <= bounds[1]).all()
    assert dtype == torch.float32 or (u.diff() >= 0).all()  # monotonic but for rounding
    z = np.clip((u.double().numpy() - mean) / std, low, high)
    found = distribution(z, low, high)
    grain = 6e-8 * max(abs(z).max(), 1) / max(np.ptp(z), 1e-9) if dtype == torch.float32 else 0
    assert np.abs(found - (np.arange(N) + 0.5) / N).max() < 2e-4 + 20 * grain


def test_no_bound_leaves_the_normals():
    n = normals(torch.float32)[10:-10]
    infinite = torch.tensor(torch.inf)
    assert torch.allclose(truncated_normal(torch.zeros(()), 1.0, -infinite, infinite, n), n, atol=1e-3)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (30.0, 31.0), (-31.0, -30.0), (-math.inf, 0.3), (2.0, math.inf)]
)
def test_the_logarithm_of_the_mass(low, high):
    found = log_mass(torch.tensor(low), torch.tensor(high)).item()
    near, far = sorted((abs(low), abs(high)))
    expected = (
        stats.norm.logcdf(-near) + math.log1p(-math.exp(stats.norm.logcdf(-far) - stats.norm.logcdf(-near)))
        if low * high > 0
        else math.log(stats.norm.cdf(high) - stats.norm.cdf(low))
    )
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
