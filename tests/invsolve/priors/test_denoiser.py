"""The priors against their formulas, and against the closed-form posterior of a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from invsolve.priors.denoiser import Denoiser, DiffusionSampler, GenerativeDenoiser, PosteriorMean, combine
from invsolve.priors.gaussian import GaussianPrior
from invsolve.runtime.random_streams import NoiseStreams

SHAPE = (1, 2, 2)


class Recorder(nn.Module):
    """A raw network that keeps its arguments and returns a fixed image."""

    def __init__(self, output: torch.Tensor):
        super().__init__()
        self.output, self.calls = output, []

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        self.calls.append(arguments)
        return self.output


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_noise(batch: int, seed: int):
    """One stream for a large batch, where only the law matters."""
    stream = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(batch, *shape, generator=stream, dtype=torch.float64)


@pytest.fixture(scope="module")
def gaussian() -> GaussianPrior:
    root = normals(4, 4, seed=1)
    covariance = 0.1 * root @ root.T + 0.01 * torch.eye(4, dtype=torch.float64)
    return GaussianPrior(normals(*SHAPE, seed=2) / 2, covariance)


def test_preconditioning_is_table_1_of_karras():
    u, output = normals(3, *SHAPE), normals(3, *SHAPE, seed=3)
    sigma, data = torch.tensor([0.02, 0.7, 30.0], dtype=torch.float64), 0.4
    network = Recorder(output)
    denoised = Denoiser(network, sigma_data=data)(u, sigma)
    ((x, c_noise),) = network.calls
    for i, s in enumerate(sigma.tolist()):
        c_skip, c_out = data**2 / (s**2 + data**2), s * data / math.sqrt(s**2 + data**2)
        assert (x[i] - u[i] / math.sqrt(s**2 + data**2)).abs().max() < 1e-13
        assert c_noise[i].item() == pytest.approx(math.log(s) / 4, abs=1e-13)
        assert (denoised[i] - (c_skip * u[i] + c_out * output[i])).abs().max() < 1e-13


def test_the_condition_is_scaled_at_its_own_level():
    u, condition = normals(2, *SHAPE), normals(2, *SHAPE, seed=4)
    network = Recorder(u)
    Denoiser(network)(u, 0.8, condition, torch.tensor([0.3, 0.1], dtype=torch.float64))
    ((_, c_noise, scaled, c_noise_condition),) = network.calls
    assert c_noise.tolist() == pytest.approx([math.log(0.8) / 4] * 2)
    assert c_noise_condition.tolist() == pytest.approx([math.log(0.3) / 4, math.log(0.1) / 4])
    for i, s in enumerate((0.3, 0.1)):
        assert (scaled[i] - condition[i] / math.sqrt(s**2 + 0.25)).abs().max() < 1e-13


def test_a_level_for_all_images_is_the_same_as_one_for_each():
    u = normals(3, *SHAPE)
    denoiser = Denoiser(nn.Identity())
    denoiser.network.forward = lambda x, c_noise: x * c_noise[:, None, None, None]
    assert torch.equal(denoiser(u, 0.3), denoiser(u, torch.full((3,), 0.3, dtype=torch.float64)))


def test_combine_is_the_product_of_two_gaussians():
    u, x_t = normals(4, *SHAPE), normals(4, *SHAPE, seed=5)
    s = torch.tensor([0.1, 1.0, 5.0, 1e-3], dtype=torch.float64)
    t = torch.tensor([0.3, 1.0, 0.01, 1e3], dtype=torch.float64)
    u_eff, s_eff = combine(u, s, x_t, t)
    for i in range(4):
        precision = 1 / s[i] ** 2 + 1 / t[i] ** 2
        assert s_eff[i].item() == pytest.approx(precision.rsqrt().item(), rel=1e-12)
        expected = (u[i] / s[i] ** 2 + x_t[i] / t[i] ** 2) / precision
        assert (u_eff[i] - expected).abs().max() < 1e-12
        # The density in x: both exponents differ by a constant only.
        x = normals(5, *SHAPE, seed=6)
        two = ((x - u[i]) / s[i]).square().flatten(1).sum(1) + ((x - x_t[i]) / t[i]).square().flatten(1).sum(1)
        one = ((x - u_eff[i]) / s_eff[i]).square().flatten(1).sum(1)
        assert ((two - one) - (two - one)[0]).abs().max() < 1e-9 * two.abs().max()


def test_combine_gives_the_gaussian_posterior_of_both_copies(gaussian):
    """``E[x | u, x_t]`` by the joint Gaussian of (x, u, x_t) is the denoiser at the sufficient statistic."""
    s, t = 0.3, 0.5
    u, x_t = normals(1, *SHAPE, seed=7), normals(1, *SHAPE, seed=8)
    u_eff, s_eff = combine(u, torch.tensor([s], dtype=torch.float64), x_t, torch.tensor([t], dtype=torch.float64))
    covariance = gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
    eye = torch.eye(4, dtype=torch.float64)
    joint = torch.cat(
        [torch.cat([covariance + s**2 * eye, covariance], 1), torch.cat([covariance, covariance + t**2 * eye], 1)]
    )
    residual = torch.cat([(u - gaussian.mean).flatten(), (x_t - gaussian.mean).flatten()])
    expected = gaussian.mean.flatten() + torch.cat([covariance, covariance], 1) @ torch.linalg.solve(joint, residual)
    assert (gaussian(u_eff, s_eff).flatten() - expected).abs().max() < 1e-12


def test_the_generative_denoiser_over_noises_its_input():
    """Its network sees ``u'`` at ``s' = (1 + gamma) s`` and ``u`` at s, with ``u' - u`` of variance ``s'² - s²``."""
    n, sigma, gamma = 20_000, 0.3, 0.414
    u = normals(1, *SHAPE).expand(n, *SHAPE)
    network = Recorder(u)
    GenerativeDenoiser(Denoiser(network), gamma).sample(u, sigma, batch_noise(n, 9))
    ((x, c_noise, condition, c_noise_condition),) = network.calls
    over = (1 + gamma) * sigma
    assert c_noise[0].item() == pytest.approx(math.log(over) / 4)
    assert c_noise_condition[0].item() == pytest.approx(math.log(sigma) / 4)
    assert (condition * math.sqrt(sigma**2 + 0.25) - u).abs().max() < 1e-13
    added = x * math.sqrt(over**2 + 0.25) - u
    variance = over**2 - sigma**2
    assert added.mean(0).abs().max() < 5 * math.sqrt(variance / n)
    assert (added.var(0) - variance).abs().max() < 5 * variance * math.sqrt(2 / n)


def test_the_inflation_is_of_the_over_noised_images_level_alone():
    u, z, s, gamma = normals(2, *SHAPE), normals(2, *SHAPE, seed=10), 0.3, 0.414
    network = Recorder(u)
    GenerativeDenoiser(Denoiser(network), 0.1)(u, s, z, gamma=gamma, sigma_inflation=0.25)
    ((x, c_noise, condition, c_noise_condition),) = network.calls
    over = (1 + gamma) * s
    assert (x * math.sqrt((1.25 * over) ** 2 + 0.25) - u - math.sqrt(over**2 - s**2) * z).abs().max() < 1e-13
    assert (c_noise - math.log(1.25 * over) / 4).abs().max() < 1e-13
    assert (condition * math.sqrt(s**2 + 0.25) - u).abs().max() < 1e-13
    assert (c_noise_condition - math.log(s) / 4).abs().max() < 1e-13


def test_levels_of_a_generative_batch_are_separate():
    u, z = normals(2, *SHAPE), normals(2, *SHAPE, seed=10)
    network = Recorder(u)
    generator = GenerativeDenoiser(Denoiser(network), gamma=0.5)
    generator(u, torch.tensor([0.2, 1.5], dtype=torch.float64), z)
    x, c_noise, *_ = network.calls[0]
    for i, s in enumerate((0.2, 1.5)):
        expected = (u[i] + math.sqrt(1.5**2 - 1) * s * z[i]) / math.sqrt((1.5 * s) ** 2 + 0.25)
        assert (x[i] - expected).abs().max() < 1e-13
        assert c_noise[i].item() == pytest.approx(math.log(1.5 * s) / 4)


class ExactGenerator(GenerativeDenoiser):
    """A generative denoiser whose every evaluation is an exact draw of a Gaussian prior's posterior."""

    def __init__(self, gaussian: GaussianPrior, refine: tuple[float, ...]):
        super().__init__(Denoiser(nn.Identity()), refine=refine)
        self.gaussian, self.levels = gaussian, []

    def forward(self, u: torch.Tensor, sigma: float | torch.Tensor, z: torch.Tensor, *others) -> torch.Tensor:
        self.levels.append(float(torch.as_tensor(sigma).flatten()[0]))
        return self.gaussian.sample(u, sigma, lambda _: z)


def test_refining_exact_draws_leaves_their_law_alone(gaussian):
    """A Gibbs step with an exact sampler keeps the posterior: mean and covariance, after two refinements."""
    n, sigma = 40_000, 0.4
    u = normals(1, *SHAPE, seed=11).expand(n, *SHAPE)
    generator = ExactGenerator(gaussian, refine=(1.0, 0.5))
    assert generator.evaluations == 3
    draws = generator.sample(u, sigma, batch_noise(n, 12)).flatten(1)
    expected = [sigma, sigma / math.sqrt(2), sigma / math.sqrt(1 + 4)]  # 1/s_eff² = 1/s² + 1/t²
    assert generator.levels == pytest.approx(expected, rel=1e-6)
    assert_posterior(draws, gaussian, u, sigma)


def assert_posterior(draws: torch.Tensor, gaussian: GaussianPrior, u: torch.Tensor, sigma: float, bias: float = 0.0):
    """Mean and covariance within 5 standard errors of the exact posterior's, plus ``bias`` standard deviations."""
    n = len(draws)
    variances = gaussian.variances * sigma**2 / (gaussian.variances + sigma**2)
    covariance = gaussian.axes @ variances.diag() @ gaussian.axes.T
    std = covariance.diag().sqrt()
    mean_error = (draws.mean(0) - gaussian(u[:1], sigma).flatten()).abs() / std
    assert mean_error.max() < 5 / math.sqrt(n) + bias
    error = (draws.T.cov() - covariance).abs() / (std[:, None] * std)
    assert error.max() < 5 * math.sqrt(2 / n) + bias


def test_a_diffusion_draw_converges_to_the_exact_posterior(gaussian):
    n, sigma = 20_000, 0.5
    u = normals(1, *SHAPE, seed=13).expand(n, *SHAPE)
    draws = DiffusionSampler(gaussian, evaluations=300, sigma_min=1e-3).sample(u, sigma, batch_noise(n, 14)).flatten(1)
    assert_posterior(draws, gaussian, u, sigma, bias=0.03)  # the error of 300 steps


def test_a_diffusion_draw_of_few_evaluations_is_narrower(gaussian):
    """Variance grows with the evaluations, from none (the mean) towards the posterior's."""
    n, sigma = 20_000, 0.5
    u = normals(1, *SHAPE, seed=13).expand(n, *SHAPE)
    exact = (gaussian.variances * sigma**2 / (gaussian.variances + sigma**2)).sum()
    spread = [
        (DiffusionSampler(gaussian, k).sample(u, sigma, batch_noise(n, 15)).flatten(1).var(0).sum() / exact).item()
        for k in (1, 2, 5, 20, 100)
    ]
    assert spread[0] < 1e-20
    assert spread[0] < spread[1] < spread[2] < spread[3] < spread[4]
    assert spread[-1] == pytest.approx(1, abs=0.1)


def test_one_evaluation_is_the_posterior_mean(gaussian):
    u = normals(3, *SHAPE, seed=16)
    for stochastic in (True, False):
        draw = DiffusionSampler(gaussian, 1, stochastic).sample(u, 0.3, batch_noise(3, 0))
        assert (draw - gaussian(u, 0.3)).abs().max() < 1e-14
    assert torch.equal(PosteriorMean(gaussian).sample(u, 0.3, batch_noise(3, 0)), gaussian(u, 0.3))


def test_the_ode_draw_is_deterministic_and_converges_to_the_flow(gaussian):
    """Along each axis the flow to 0 scales ``u - m`` by ``sqrt(l / (l + s²))``, and takes no noise."""

    def no_noise(_shape):
        raise AssertionError("the ODE drew noise")

    u, sigma = normals(3, *SHAPE, seed=17), 0.5
    exact = (gaussian.variances / (gaussian.variances + sigma**2)).sqrt() * (
        (u - gaussian.mean).flatten(1) @ gaussian.axes
    )
    exact = gaussian.mean.flatten() + exact @ gaussian.axes.T
    errors = []
    for evaluations in (10, 100, 1000):
        draw = DiffusionSampler(gaussian, evaluations, stochastic=False, sigma_min=1e-4).sample(u, sigma, no_noise)
        errors.append((draw.flatten(1) - exact).abs().max().item())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 2e-3


def test_draws_do_not_depend_on_the_batch(gaussian):
    u = normals(4, *SHAPE, seed=18)
    for prior in (DiffusionSampler(gaussian, 5), ExactGenerator(gaussian, (0.5,))):
        together = prior.sample(u, 0.4, NoiseStreams(0, range(4), dtype=torch.float64))
        alone = prior.sample(u[2:3], 0.4, NoiseStreams(0, [2], dtype=torch.float64))
        assert (together[2] - alone[0]).abs().max() < 1e-13


def test_values_out_of_range_are_refused(gaussian):
    with pytest.raises(ValueError, match="at least 1 evaluation, found 0"):
        DiffusionSampler(gaussian, 0)
    denoiser = Denoiser(nn.Identity())
    with pytest.raises(ValueError, match=r"gamma must be at least 0, the levels of refine above 0, found -0.1 and"):
        GenerativeDenoiser(denoiser, gamma=-0.1)
    with pytest.raises(ValueError, match=r"the levels of refine above 0, found 0.414 and \(0.5, -1\)"):
        GenerativeDenoiser(denoiser, refine=(0.5, -1))


def test_an_estimator_has_what_is_not_over_noised_and_nothing_else():
    """In a call and in samples, refined ones too."""
    sampler, estimator = (lambda u, *_, value=value: torch.full_like(u, value) for value in (1.0, 2.0))
    prior, u = GenerativeDenoiser(sampler, refine=[0.5], estimator=estimator), normals(2, *SHAPE)
    for gamma, value in ((None, 1.0), (0.2, 1.0), (0.0, 2.0)):
        assert (prior(u, 0.5, u, gamma=gamma) == value).all()
        assert (prior.sample(u, 0.5, batch_noise(2, 0), gamma=gamma) == value).all()
    assert (GenerativeDenoiser(sampler)(u, 0.5, u, gamma=0.0) == 1.0).all()
