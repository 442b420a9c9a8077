"""deepinv's denoisers as ours and our priors as deepinv's: closed forms, and each library's loops."""

from __future__ import annotations

import math

import pytest
import torch
from adapter_cases import SHAPE, random, seeded

from invsolve import Denoiser, DiffusionSampler, GaussianPrior, PosteriorMean, Settings, posterior, solve
from invsolve.priors.denoiser import GenerativeDenoiser
from invsolve.runtime.optional import import_optional
from invsolve.runtime.random_streams import NoiseStreams
from operators import Resize, random_mask

try:
    deepinv = import_optional("deepinv")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from invsolve.adapters.deepinv import (
    DenoiserFromDeepinv,
    DenoiserToDeepinv,
    OperatorFromDeepinv,
    OperatorToDeepinv,
    PriorToDeepinv,
    measurement_to_01,
)

physics = deepinv.physics


class MeanModel(deepinv.models.Denoiser):
    """The exact posterior mean for x ~ N(m, C) on [0, 1]: m + C (C + sigma² I)^-1 (u - m)."""

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.covariance = mean, covariance

    def forward(self, x, sigma):
        levels = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1)
        total = self.covariance + levels**2 * torch.eye(len(self.covariance), dtype=x.dtype)
        away = (x - self.mean).flatten(1)[..., None]
        return self.mean + (self.covariance @ total.inverse() @ away).reshape(x.shape)


SMALL = (1, 4, 4)


@pytest.fixture(scope="module")
def gaussian() -> GaussianPrior:
    root = torch.randn(16, 16, generator=seeded(1), dtype=torch.float64) / 4
    mean = torch.randn(*SMALL, generator=seeded(2), dtype=torch.float64) / 4
    return GaussianPrior(mean, root @ root.T)


@pytest.fixture(scope="module")
def model(gaussian) -> MeanModel:
    covariance = gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
    return MeanModel((gaussian.mean + 1) / 2, covariance / 4)


@pytest.mark.parametrize("sigma", [0.05, 1.5, torch.tensor([0.1, 0.7], dtype=torch.float64)])
def test_a_deepinv_denoiser_is_ours_on_the_other_scale(gaussian, model, sigma):
    u = random(2, *SMALL).double()
    assert (DenoiserFromDeepinv(model)(u, sigma) - gaussian(u, sigma)).abs().max() < 1e-12
    x, half = (u + 1) / 2, sigma / 2
    assert (DenoiserToDeepinv(gaussian)(x, half) - model(x, half)).abs().max() < 1e-12
    assert (DenoiserFromDeepinv(DenoiserToDeepinv(gaussian))(u, sigma) - gaussian(u, sigma)).abs().max() < 1e-12
    assert (DenoiserToDeepinv(DenoiserFromDeepinv(model))(x, half) - model(x, half)).abs().max() < 1e-12


def test_gradients_pass_through_the_denoisers(gaussian, model):
    u = random(2, *SMALL).double().requires_grad_()
    for adapted in (DenoiserFromDeepinv(model), DenoiserFromDeepinv(DenoiserToDeepinv(gaussian))):
        found, wanted = (torch.autograd.grad(d(u, 0.3).square().sum(), u)[0] for d in (adapted, gaussian))
        assert (found - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 1, 1, 1)])
def test_deepinvs_shapes_of_a_noise_level(gaussian, model, shape):
    x = random(2, *SMALL).double()
    assert (DenoiserToDeepinv(gaussian)(x, torch.full(shape, 0.2)) - model(x, torch.tensor(0.2))).abs().max() < 1e-7


class Network(torch.nn.Module):
    """A small random network with the contract of a conditional one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x, level, condition, condition_level):
        return torch.tanh(self.mix(torch.cat([x, condition], dim=1)) + level[:, None, None, None])


def test_a_generative_prior_samples_with_a_seed_or_a_generator():
    prior = GenerativeDenoiser(Denoiser(Network()), refine=(0.5,))
    x = torch.rand(3, *SHAPE, generator=seeded(0))
    adapted = PriorToDeepinv(prior, seed=5)
    wanted = (prior.sample(2 * x - 1, 0.4, NoiseStreams(5, range(3))) + 1) / 2
    for sigma in (0.2, torch.tensor(0.2), torch.full((3, 1, 1, 1), 0.2)):
        assert (adapted(x, sigma) - wanted).abs().max() < 1e-6  # every call has the same noise
    assert (adapted(x[:1], 0.2) - wanted[:1]).abs().max() < 1e-6  # whatever the batch
    assert (PriorToDeepinv(prior, seed=6)(x, 0.2) - wanted).abs().max() > 0.01
    fresh = PriorToDeepinv(prior, generator=seeded(7))
    first, second = fresh(x, 0.2), fresh(x, 0.2)
    assert (first - second).abs().max() > 0.01
    assert torch.equal(PriorToDeepinv(prior, generator=seeded(7))(x, 0.2), first)
    with pytest.raises(ValueError, match=r"sigma is \[.*\] but a sample needs one noise level"):
        adapted(x, torch.tensor([0.1, 0.2, 0.2]))


def test_solve_with_a_deepinv_denoiser_and_physics_has_the_closed_form_posterior(gaussian, model):
    """y = A x + n with x ~ N(m, C): E[x | y] = m + C A^T (A C A^T + s² I)^-1 (y - A m)."""
    s, samples, shape = 0.3, 600, SMALL
    theirs = physics.Downsampling(shape, physics.functional.gaussian_blur((3, 3), 0.7), 2).double()
    operator = OperatorFromDeepinv(theirs, shape)
    matrix = operator(torch.eye(16, dtype=torch.float64).reshape(16, *shape)).flatten(1).T
    covariance = 4 * model.covariance
    y = 3 * operator(random(1, *shape, seed=3).double())
    gain = covariance @ matrix.T @ torch.linalg.inv(matrix @ covariance @ matrix.T + s**2 * torch.eye(4).double())
    mean = gaussian.mean.flatten() + gain @ (y.flatten() - matrix @ gaussian.mean.flatten())
    std = (covariance - gain @ matrix @ covariance).diagonal().sqrt()
    assert ((gaussian.mean.flatten() - mean).abs() / std).max() > 1  # the measurement tells something
    prior = DiffusionSampler(DenoiserFromDeepinv(model), evaluations=8, exponent=3.0, sigma_min=0.02)
    settings = Settings(sigma_max=1.5, sigma_min=0.15)
    found = posterior(y, operator, samples, 8 * 50, s, prior, settings=settings, batch=samples)
    # Monte Carlo errors of 5 standard deviations, beside a tenth for the finite schedules.
    assert ((found.mean.flatten() - mean).abs() / std).max() < 0.1 + 5 / math.sqrt(samples)
    assert (found.std.flatten() / std - 1).abs().max() < 0.1 + 5 / math.sqrt(2 * samples)
    assert (operator(found.mean) - y).norm() < 0.75 * (operator(gaussian.mean[None]) - y).norm()


@pytest.mark.parametrize("sample", [PosteriorMean, lambda denoiser: DiffusionSampler(denoiser, 2)])
def test_solve_with_an_untrained_deepinv_network_does_not_mix_images(sample):
    """A real architecture: an image's result is its own, whatever the batch."""
    torch.manual_seed(0)
    network = deepinv.models.DRUNet(3, 3, nc=(8, 8, 8, 8), nb=1, pretrained=None)
    prior = sample(DenoiserFromDeepinv(network))
    operator = OperatorFromDeepinv(physics.Inpainting(SHAPE, mask=random_mask(SHAPE[1:], 0.5, seed=0)), SHAPE)
    y = operator(random(3, *SHAPE))
    x = solve(y, operator, 4, 0.05, prior)
    last = solve(y[2:], operator, 4, 0.05, prior, indices=[2])
    assert (x[2:] - last).abs().max() < 1e-4


def test_deepinvs_own_iteration_runs_on_our_operator_and_prior(gaussian):
    """deepinv's plug-and-play half-quadratic splitting, with the maps of both libraries, comes to the same image."""
    operator = Resize(SMALL, 2).double()
    there = OperatorToDeepinv(operator, sigma_y=0.1)
    denoiser = DenoiserToDeepinv(gaussian)
    y = measurement_to_01(operator(random(1, *SMALL, seed=4).double()), operator)
    build = deepinv.optim.optim_builder
    loop = build(
        "HQS",
        prior=deepinv.optim.PnP(denoiser),
        data_fidelity=deepinv.optim.L2(),
        max_iter=20,
        params_algo={"stepsize": 1.5, "g_param": 0.1},
        custom_init=lambda y, physics: {"est": (physics.A_adjoint(y), physics.A_adjoint(y))},
    )
    found = loop(y, there)
    x = operator.adjoint(y)
    for _ in range(20):
        x = (gaussian(2 * operator.prox(x, y, 1 / 1.5) - 1, 0.2) + 1) / 2
    assert (found - x).abs().max() < 1e-6
