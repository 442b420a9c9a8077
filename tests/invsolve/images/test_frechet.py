"""The Fréchet distance against its closed forms, and AlexNet's features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench_cases import write_trunk
from scipy.linalg import sqrtm

from invsolve.images.frechet import frechet_distance, load_features
from invsolve.images.metrics import alexnet_for_lpips


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Features of exactly this mean and covariance."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), x.T).T
    return mean + x @ np.linalg.cholesky(covariance).T


def covariance(size: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_of_independent_features_it_is_the_distance_of_means_and_deviations():
    means, deviations = np.array([[0.0, 1.0, 2.0], [0.5, 1.0, 0.0]]), np.array([[1.0, 2.0, 0.5], [1.5, 2.0, 0.1]])
    sets = [
        with_moments(m, np.diag(d**2), count, count) for m, d, count in zip(means, deviations, (20, 50), strict=True)
    ]
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(sets[0], sets[0]) == pytest.approx(0, abs=1e-9)


def test_of_dependent_features_it_is_the_formula_with_the_matrix_root():
    first, second = covariance(5, 0), covariance(5, 1)
    sets = [with_moments(np.zeros(5), c, 30, 2) for c in (first, second)]
    expected = np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(*sets) == pytest.approx(frechet_distance(*sets[::-1]), rel=1e-9)


def test_it_is_finite_with_fewer_pictures_than_features():
    stream = np.random.default_rng(0)
    near, far = (stream.standard_normal((4, 64)) + shift for shift in (0, 3))
    assert frechet_distance(near, near) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(near, far) > 9 * 64 / 2


def test_features_are_means_of_the_last_convolution(tmp_path):
    path = write_trunk(tmp_path / "trunk.safetensors")
    features, network = load_features(path), alexnet_for_lpips(path, "cpu").net
    x = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    last = (x - shift) / scale
    for part in (network.slice1, network.slice2, network.slice3, network.slice4, network.slice5):
        last = part(last)
    assert features(x) == pytest.approx(last.mean((2, 3)).numpy(), rel=1e-5, abs=1e-7)
    assert features(x).shape == (2, 256)
    assert features(x[:, :1]) == pytest.approx(features(x[:, :1].expand(-1, 3, -1, -1)))
