"""DDRM and DDNM+ against their papers' formulas in the coordinates of a dense singular value decomposition."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from peer_cases import OPERATORS, SHAPE, SIZE, dense, gaussian, operator, random, stream
from torch import Tensor

from invsolve.peers.ddnm import DDNMSettings, ddnm, travel_path
from invsolve.peers.ddrm import DDRMSettings, ddrm, spectral_step
from invsolve.peers.levels import ddpm_levels
from invsolve.solver.wiener import mean_colour

SIGMA_Y, STEPS = 0.1, 12
EYE = torch.eye(SIZE, dtype=torch.float64)


class Dense:
    """A = U S V^T in full: all n right singular vectors, singular values 0 for those that A does not see."""

    def __init__(self, name: str):
        self.op = operator(name)
        self.a = dense(self.op)
        u, s, vt = torch.linalg.svd(self.a, full_matrices=True)
        self.vt = vt
        self.s = torch.cat([s, s.new_zeros(SIZE - len(s))])
        self.s[self.s < 1e-10] = 0
        self.u = torch.cat([u, u.new_zeros(len(u), max(0, SIZE - len(u)))], dim=1)[:, :SIZE]

    def data(self, y: Tensor) -> Tensor:
        """``y_bar = S^+ U^T y``."""
        inverse = torch.where(self.s > 0, 1 / self.s, 0)
        return (y.flatten(1) @ self.u) * inverse


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.5, 0.6)])
@pytest.mark.parametrize("sigma", [0.02, 0.15, 3.0])  # below, among and above sigma_y / s
def test_a_step_has_the_mean_and_covariance_of_equation_8(name, eta, eta_b, sigma):
    world = Dense(name)
    x0, estimate, y = random(1, *SHAPE, seed=3), random(1, *SHAPE, seed=4), random(1, *world.op.out_shape, seed=5)
    s, data = world.s, world.data(y)[0]
    x_bar, estimate_bar = world.vt @ x0.flatten(), world.vt @ estimate.flatten()
    keep = (1 - eta**2) ** 0.5 * sigma
    worse, better = (s > 0) & (sigma < SIGMA_Y / s), (s > 0) & (sigma >= SIGMA_Y / s)
    mean = torch.where(s == 0, x_bar + keep * estimate_bar, x_bar)
    mean = torch.where(worse, x_bar + keep * (data - x_bar) / (SIGMA_Y / s), mean)
    mean = torch.where(better, (1 - eta_b) * x_bar + eta_b * data, mean)
    variance = torch.where(better, sigma**2 - (SIGMA_Y * eta_b / s) ** 2, (eta * sigma) ** 2)

    def step(noise: Tensor) -> Tensor:
        many = [value.expand(len(noise), *value.shape[1:]) for value in (x0, estimate, y)]
        found = spectral_step(*many[:2], sigma, many[2], world.op, SIGMA_Y, lambda shape: noise, eta, eta_b)
        return found.flatten(1) @ world.vt.T

    still = step(torch.zeros(1, *SHAPE, dtype=torch.float64))[0]
    assert (still - mean).abs().max() < 1e-9
    factor = (step(EYE.reshape(SIZE, *SHAPE)) - still).T
    assert (factor @ factor.T - variance.diag()).abs().max() < 1e-9


def test_denoising_keeps_the_marginals():
    """With A = I and eta_b = 1, u at a level above sigma_y is the measurement with just the noise that was missing."""
    op, x0 = operator("identity"), random(1, *SHAPE, seed=3)
    y, n = random(1, *SHAPE, seed=4), random(1, *SHAPE, seed=5)
    u = spectral_step(x0, x0, 0.5, y, op, SIGMA_Y, lambda shape: n, 0.85, 1.0)
    assert (u - y - (0.5**2 - SIGMA_Y**2) ** 0.5 * n).abs().max() < 1e-12


def test_the_start_has_the_mean_and_covariance_of_equation_7():
    """One evaluation of D(u) = u gives back the start, whatever the step to level 0 does: it returns x0."""
    for name in OPERATORS:
        world, y = Dense(name), random(1, *operator(name).out_shape, seed=5)
        settings = DDRMSettings(steps=1, sigma_max=2.0)
        seen = []

        def denoiser(u, sigma, seen=seen):
            seen.append((u, sigma))
            return u

        ddrm(y.expand(SIZE, *y.shape[1:]), world.op, denoiser, SIGMA_Y, lambda _: EYE.reshape(SIZE, *SHAPE), settings)
        (u, sigma), s = seen[0], world.s
        better = (s > 0) & (sigma >= SIGMA_Y / s)
        mean = torch.where(better, world.data(y)[0], world.vt @ mean_colour(y, world.op)[0].flatten())
        deviation = torch.where(better, (sigma**2 - (SIGMA_Y / s) ** 2).clamp(min=0).sqrt(), sigma)
        factor = (u.flatten(1) @ world.vt.T - mean).T
        assert (factor @ factor.T - deviation.square().diag()).abs().max() < 1e-9


@pytest.mark.parametrize("name", OPERATORS)
def test_ddnm_is_the_published_correction_and_noise(name):
    """``x0 - Sigma A^+ (A x0 - y)`` and the noise of the code's Lambda functions, in the variance-preserving state."""
    world, prior = Dense(name), gaussian()
    y = world.op(random(1, *SHAPE, seed=9))
    found = ddnm(y, world.op, prior, SIGMA_Y, stream(1, 5), DDNMSettings(steps=STEPS, eta=0.7))

    noise, levels, s = stream(1, 5), ddpm_levels(STEPS), world.s
    x = (mean_colour(y, world.op) + levels[0] * noise(SHAPE)) / (1 + levels[0] ** 2) ** 0.5
    pseudo_inverse = torch.linalg.pinv(world.a, rtol=1e-10)
    for sigma, following in pairwise([*levels, 0.0]):
        abar, a_next = 1 / (1 + sigma**2), 1 / (1 + following**2) ** 0.5
        x0 = prior(x / abar**0.5, sigma).flatten()
        estimate = (x.flatten() - abar**0.5 * x0) / (1 - abar) ** 0.5
        sigma_t = (1 - a_next**2) ** 0.5
        worse = (s > 0) & (sigma_t < a_next * SIGMA_Y / s)
        better = (s > 0) & ~worse
        scale = torch.where(worse, s * sigma_t * (1 - 0.7**2) ** 0.5 / a_next / SIGMA_Y, 1.0)
        fresh = torch.where(better, sigma_t**2 - (a_next * SIGMA_Y / s) ** 2, (0.7 * sigma_t) ** 2).clamp(min=0).sqrt()
        kept = (1 - 0.7**2) ** 0.5 * sigma_t * (s == 0).double()
        correction = world.vt.T @ (scale * (world.vt @ (pseudo_inverse @ (world.a @ x0 - y.flatten()))))
        x = a_next * (x0 - correction) + world.vt.T @ (fresh * (world.vt @ noise(SHAPE).flatten()))
        x = (x + world.vt.T @ (kept * (world.vt @ estimate))).reshape(1, *SHAPE)
    assert (found - x).abs().max() < 1e-8


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("travel", [1, 3])
def test_without_noise_the_result_agrees_with_the_measurement(name, travel):
    op, prior = operator(name), gaussian()
    y = op(random(2, *SHAPE, seed=6))
    for restored in (
        ddnm(y, op, prior, 0.0, stream(2, 5), DDNMSettings(steps=STEPS, travel_length=2, travel_repeat=travel)),
        ddrm(y, op, prior, 0.0, stream(2, 5), DDRMSettings(steps=STEPS)),
    ):
        assert (op(restored) - y).abs().max() < 1e-9


def test_travel_paths():
    assert travel_path(3, 1, 1) == [0, 1, 2, 3]
    # Back from level 1 and from level 2 by one each; the cleanest level, 2, is the timestep 0 of the literature.
    assert travel_path(3, 1, 2) == [0, 1, 0, 1, 2, 1, 2, 3]
    assert travel_path(4, 2, 2) == [0, 1, 2, 3, 1, 2, 3, 4]
    for steps, length, repeat in [(10, 1, 3), (10, 3, 2), (1, 1, 2), (5, 10, 4)]:
        path = travel_path(steps, length, repeat)
        assert path[0] == 0
        assert path[-1] == steps
        assert all(b - a in (1, -length) for a, b in pairwise(path))
        returns = (repeat - 1) * len(range(0, steps - length, length))
        assert DDNMSettings(steps, 0.85, length, repeat).evaluations == steps + returns * length
