import copy
import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from solver_cases import OPERATORS, SHAPE, TinyNetwork, masks, measurements, seeded

from invsolve import Denoiser, GaussianPrior, GenerativeDenoiser, Posterior, PosteriorMean, Settings, posterior, solve
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.schedule import karras
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.sampler import Problem, split_gibbs
from invsolve.solver.wiener import wiener_estimate
from invsolve.specs.settings import FewStep
from operators import Identity, LinearOperator, Mask, Resize


@pytest.fixture(scope="module")
def network_prior() -> GenerativeDenoiser:
    prior = GenerativeDenoiser(Denoiser(TinyNetwork()))
    prior.spectrum = 10 / (1 + torch.arange(32.0) ** 2)
    return prior


@pytest.fixture(scope="module")
def gaussian_prior() -> GaussianPrior:
    root = torch.randn(math.prod((1, 4, 4)), 16, generator=seeded(1), dtype=torch.float64) / 4
    return GaussianPrior(torch.zeros(1, 4, 4, dtype=torch.float64), root @ root.T)


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(0.5, 0.1, warm_start=True, few_step=FewStep(output_ema=0.4))],
    ids=["cold", "warm"],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_an_image_alone_and_in_a_batch_of_8_give_the_same_result(name, settings, network_prior):
    operator = OPERATORS[name]()
    y = measurements(operator)
    together = solve(y, operator, prior=network_prior, settings=settings)
    assert (together[0] - together[1]).abs().max() > 0.1  # different images, or the rest says nothing
    for b in (0, 5):
        alone = solve(y[b : b + 1], operator.select([b]), prior=network_prior, settings=settings, indices=[b])
        assert (alone[0] - together[b]).abs().max() < 3e-5
    for batch in (1, 3):
        split = solve(y, operator, prior=network_prior, settings=settings, batch=batch)
        assert (split - together).abs().max() < 3e-5


@pytest.mark.parametrize("changes", [{}, {"renoise": 0.7}, {"momentum": 0.3}, {"overrelaxation": 0.6}])
def test_solve_is_the_sampler_with_its_settings(network_prior, changes):
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 2)
    few_step = FewStep(output_ema=0.3, **changes)
    settings = Settings(1.5, 0.2, 2.0, sigma_likelihood=0.02, few_step=few_step)
    x = solve(y, operator, 5, 0.05, network_prior, seed=3, settings=settings, indices=[7, (1, 2)])
    problem = Problem(y, operator, network_prior, 0.02, karras(5, 1.5, 0.2, 2.0), few_step=few_step)
    *_, expected = split_gibbs(problem, NoiseStreams(3, [7, (1, 2)]))
    assert torch.equal(x, expected.detach())
    assert not x.requires_grad
    plain = dataclasses.replace(settings, few_step=FewStep(output_ema=0.3))
    x_plain = solve(y, operator, 5, 0.05, network_prior, 3, plain, [7, (1, 2)])
    assert torch.equal(x, x_plain) == (not changes)


def test_gamma_is_the_priors_over_noising(network_prior):
    """At 0 the noise of the likelihood samples alone is left: the first sample is the network's answer to u = u'."""
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 2)
    less = GenerativeDenoiser(network_prior.denoiser, 0.1)
    x = solve(y, operator, prior=network_prior, settings=Settings(gamma=0.1))
    assert torch.equal(x, solve(y, operator, prior=less, settings=Settings()))
    assert (x - solve(y, operator, prior=network_prior)).abs().max() > 1e-3
    first = solve(y, operator, 1, prior=network_prior, settings=Settings(gamma=0))
    u = operator.sample(torch.zeros(2, *SHAPE), y, 0.05, 2.0, NoiseStreams(0, [0, 1]))
    assert (first - network_prior.denoiser(u, 2.0, u, 2.0)).abs().max() < 1e-5


def test_the_inflation_of_sigma_falls_from_the_first_level_to_none_at_the_last(network_prior):
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 2)
    x = solve(y, operator, 3, prior=network_prior, settings=Settings(gamma=0, few_step=FewStep(sigma_inflation=0.4)))
    noise = NoiseStreams(0, [0, 1])
    u = operator.sample(torch.zeros(2, *SHAPE), y, 0.05, 2.0, noise)
    levels = karras(3, 2.0, 0.1, 3.0)
    for i, sigma_inflation in enumerate((0.4, 0.2, 0.0)):
        expected = network_prior.denoiser(u, (1 + sigma_inflation) * levels[i], u, levels[i])
        if i < 2:
            u = operator.sample(expected, y, 0.05, levels[i + 1], noise)
    assert (x - expected).abs().max() < 1e-5
    assert (x - solve(y, operator, 3, prior=network_prior, settings=Settings(gamma=0))).abs().max() > 1e-3


def test_momentum_takes_the_likelihood_samples_beyond_the_last_sample(network_prior):
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 2)
    x = solve(y, operator, 3, prior=network_prior, settings=Settings(few_step=FewStep(momentum=0.5)))
    noise, levels = NoiseStreams(0, [0, 1]), karras(3, 2.0, 0.1, 3.0)
    with torch.no_grad():
        u = operator.sample(torch.zeros(2, *SHAPE), y, 0.05, levels[0], noise)
        first = network_prior.sample(u, levels[0], noise)
        second = network_prior.sample(operator.sample(first, y, 0.05, levels[1], noise), levels[1], noise)
        u = operator.sample(1.5 * second - 0.5 * first, y, 0.05, levels[2], noise)
        assert (x - network_prior.sample(u, levels[2], noise)).abs().max() < 1e-5
    assert (x - solve(y, operator, 3, prior=network_prior, settings=Settings())).abs().max() > 1e-3


def test_images_of_other_channels_than_the_priors_are_refused():
    denoiser = Denoiser(UNet(UNetConfig(widths=(8,), blocks=(1,))))
    with pytest.raises(ValueError, match="the images have 1 channels but the prior's have 3"):
        solve(torch.zeros(1, 1, 16, 16), Identity((1, 16, 16)), prior=PosteriorMean(denoiser))


def test_a_warm_start_is_a_likelihood_sample_near_the_wiener_estimate(network_prior):
    operator = OPERATORS["one mask"]()
    y = measurements(operator, 2)
    x = solve(y, operator, 1, 0.05, network_prior, settings=Settings(0.4, warm_start=True))
    noise = NoiseStreams(0, [0, 1])
    u = operator.sample(wiener_estimate(y, operator, 0.05, network_prior.spectrum), y, 0.05, 0.4, noise)
    assert torch.equal(x, network_prior.sample(u, 0.4, noise).detach())


def test_seed_and_index_choose_the_noise(network_prior):
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 1).expand(2, -1, -1, -1)
    first = solve(y, operator, prior=network_prior)
    assert (first[0] - first[1]).abs().max() > 1e-3
    assert torch.equal(solve(y, operator, prior=network_prior), first)
    assert torch.equal(solve(y, operator, prior=network_prior, indices=[1, 1])[0], first[1])
    assert (solve(y, operator, prior=network_prior, seed=1) - first).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_a_noiseless_measurement_is_reproduced(gaussian_prior):
    operator = Resize((1, 4, 4), 2).double()
    y = operator(torch.randn(3, 1, 4, 4, generator=seeded(5), dtype=torch.float64))
    settings = Settings(sigma_max=2.0, sigma_min=1e-4)
    x = solve(y, operator, 20, 0.0, gaussian_prior, settings=settings)
    assert (operator(x) - y).abs().max() < 1e-3


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "mask per image of a blur"])
def test_without_noise_the_last_sample_is_projected_onto_the_measurement(name, network_prior):
    """And onto nothing else: what the measurement leaves open stays the prior's."""
    operator = OPERATORS[name]().double()
    prior = copy.deepcopy(network_prior).double()
    y = operator(torch.randn(8, *SHAPE, generator=seeded(7), dtype=torch.float64))
    x = solve(y, operator, 3, 0.0, prior, settings=Settings(), batch=3)
    assert (operator(x) - y).abs().max() < 1e-6
    noise = NoiseStreams(0, range(8), dtype=torch.float64)
    *_, drawn = split_gibbs(Problem(y, operator, prior, 0.0, karras(3, 2.0, 0.1, 3.0)), noise)
    assert (operator(drawn) - y).abs().max() > 1e-3
    moved = x - drawn
    assert (operator.pinv(operator(moved)) - moved).abs().max() < 1e-6


@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_missing_pixels_may_hold_anything(network_prior, junk):
    operator = OPERATORS["a mask per image"]()
    y = measurements(operator)
    expected = solve(y, operator, prior=network_prior, settings=Settings(0.5, warm_start=True))
    y = torch.where(masks(8) > 0, y, junk)
    found = solve(y, operator, prior=network_prior, settings=Settings(0.5, warm_start=True))
    assert (found - expected).abs().max() < 1e-6
    y[0] = torch.where(masks(8)[0] > 0, junk, 0.0)
    with pytest.raises(ValueError, match="values that are NaN or infinite"):
        solve(y, operator, prior=network_prior)


def test_posterior_samples_come_from_streams_of_image_and_sample(network_prior):
    operator = OPERATORS["a mask per image"]()
    y = measurements(operator)
    how = {"steps": 3, "settings": Settings(sigma_max=1.0), "prior": network_prior}
    result = posterior(y, operator, samples=3, **how)
    assert isinstance(result, Posterior)
    assert result.samples.shape == (3, 8, *SHAPE)
    for k in range(3):
        expected = solve(y, operator, indices=[(b, k) for b in range(8)], **how)
        assert (result.samples[k] - expected).abs().max() < 1e-5
    for batch in (1, 5, 24):  # within one sample, across samples, all at once
        split = posterior(y, operator, samples=3, batch=batch, **how)
        assert (split.samples - result.samples).abs().max() < 1e-5
    assert (result.mean - result.samples.mean(dim=0)).abs().max() < 1e-6
    assert (result.std - result.samples.std(dim=0)).abs().max() < 1e-6


def test_posterior_mean_and_std_against_the_closed_form(gaussian_prior):
    """With A = I the posterior is that of the prior's own denoiser at sigma_y."""
    k, sigma_y, shape = 3000, 0.5, (1, 4, 4)
    y = torch.randn(1, *shape, generator=seeded(6), dtype=torch.float64)
    settings = Settings(sigma_max=1.0, sigma_min=0.1)
    result = posterior(y, Identity(shape).double(), k, 60, sigma_y, gaussian_prior, settings=settings, batch=k)
    variances = gaussian_prior.variances
    axes = gaussian_prior.axes.square()
    std = (axes @ (variances * sigma_y**2 / (variances + sigma_y**2))).sqrt()
    mean_error = (result.mean - gaussian_prior(y, sigma_y)).flatten().abs() / std
    # Monte Carlo errors of 5 standard deviations, beside a tenth for the finite schedule.
    assert mean_error.max() < 0.1 + 5 / k**0.5
    assert (result.std.flatten() / std - 1).abs().max() < 0.1 + 5 / (2 * k) ** 0.5


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("c", [0.1, 0.01, 0.001])
def test_equivalent_problems_have_one_answer(name, c, network_prior):
    """``c y = (c A) x + c sigma_y n`` says of x what ``y = A x + sigma_y n`` does, settings by default."""
    operator = OPERATORS[name]()
    y = measurements(operator)
    expected = solve(y, operator, 2, prior=network_prior)
    found = solve(c * y, c * operator, 2, sigma_y=c * 0.05, prior=network_prior)
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_two_threads_solve_as_one_does(network_prior):
    operators = [OPERATORS[name]() for name in ("super-resolution", "mask per image of a blur")]
    cases = [(measurements(operator), operator) for operator in operators]
    alone = [solve(*case, prior=network_prior) for case in cases]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(solve, *case, prior=network_prior) for case in 3 * cases]
        for future, expected in zip(futures, 3 * alone, strict=True):
            assert (future.result() - expected).abs().max() < 1e-5


def test_an_operator_of_ones_own_with_a_wrong_adjoint_is_refused(network_prior):
    class Wrong(LinearOperator):
        def forward(self, x):
            return 2 * x

        def adjoint(self, y):
            return y + 1

    operator = Wrong(SHAPE, SHAPE)
    with pytest.raises(ValueError, match="adjoint") as caught:
        solve(torch.zeros(1, *SHAPE), operator, prior=network_prior)
    assert "\n" not in str(caught.value)


@pytest.mark.cuda
def test_a_gpu_gives_the_same_result(gaussian_prior):
    operator, shape = Resize((1, 4, 4), 2).double(), (1, 4, 4)
    gaussian_prior.spectrum = 1 / (1 + torch.arange(8.0))
    y = operator(torch.randn(3, *shape, generator=seeded(8), dtype=torch.float64))
    settings = Settings(1.0, warm_start=True)
    on_cpu = solve(y, operator, prior=gaussian_prior, settings=settings)
    on_gpu = solve(y.cuda(), operator.cuda(), prior=copy.deepcopy(gaussian_prior).cuda(), settings=settings)
    assert (on_gpu.cpu() - on_cpu).abs().max() < 1e-5
    with pytest.raises(ValueError, match="operator is on cuda:0 but y is on cpu"):
        solve(y, operator, prior=gaussian_prior)


class Counting:
    """A prior that counts its evaluations."""

    evaluations = 2

    def __init__(self) -> None:
        self.spent = 0

    def sample(self, u, sigma, noise):
        self.spent += self.evaluations
        return u


def test_steps_are_network_evaluations_and_progress_counts_them(capsys):
    prior = Counting()
    operator = Resize(SHAPE, 2)
    solve(measurements(operator, 3), operator, steps=6, prior=prior, batch=2, progress=True)
    assert prior.spent == 12  # six for each of two micro-batches
    assert "18/18" in capsys.readouterr().err  # six for each of three images


def test_a_prior_may_differentiate():
    """Operators and priors of one's own may use autograd inside."""

    class Gradient:
        evaluations = 1

        def sample(self, u, sigma, noise):
            with torch.enable_grad():
                u = u.detach().requires_grad_()
                return torch.autograd.grad((u**2).sum() / 4, u)[0]

    operator = Identity(SHAPE)
    x = solve(measurements(operator, 1), operator, 2, prior=Gradient())
    assert not x.is_inference()


def refused(**changes):
    """Call solve with one thing wrong."""
    operator = changes.pop("operator", Resize(SHAPE, 2))
    y = changes.pop("y", torch.zeros(2, 3, 8, 6))
    solve(y, operator, **{"prior": Counting(), **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"y": torch.zeros(2, 3, 8, 7)}, ValueError, r"y is \[2, 3, 8, 7\] but the operator gives \[B, 3, 8, 6\]"),
        ({"y": torch.zeros(3, 8, 6)}, ValueError, r"y is \[3, 8, 6\]"),
        ({"y": torch.zeros(0, 3, 8, 6)}, ValueError, r"y is \[0, 3, 8, 6\]"),
        ({"y": torch.zeros(2, 3, 8, 6, dtype=torch.uint8)}, TypeError, "y is torch.uint8"),
        ({"y": [[0.0]]}, TypeError, "y is list"),
        ({"y": torch.full((1, 3, 8, 6), math.nan)}, ValueError, "y has 144 of 144 values that are NaN or infinite"),
        ({"y": torch.full((1, 3, 8, 6), math.inf)}, ValueError, "NaN or infinite"),
        ({"y": torch.zeros(2, 3, 8, 6, device="meta")}, ValueError, "operator is on cpu but y is on meta"),
        ({"operator": torch.nn.Identity()}, TypeError, "operator is a Identity"),
        ({"y": torch.zeros(2, *SHAPE), "operator": Mask(SHAPE, masks(8))}, ValueError, "2 images but .* 8"),
        ({"steps": 0}, ValueError, "steps is 0 but must be at least 1"),
        ({"steps": 4.0}, TypeError, "steps is 4.0"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"steps": 5}, ValueError, "steps is 5 but must be a multiple of 2"),
        ({"sigma_y": -0.1}, ValueError, "sigma_y is -0.1 but must be finite and at least 0"),
        ({"sigma_y": math.nan}, ValueError, "sigma_y is nan"),
        ({"sigma_y": math.inf}, ValueError, "sigma_y is inf"),
        ({"sigma_y": "0.1"}, TypeError, "sigma_y is '0.1'"),
        ({"prior": object()}, TypeError, "prior is a object"),
        ({"settings": {"sigma_max": 1.0}}, TypeError, "settings is a dict"),
        ({"settings": Settings(warm_start=True)}, ValueError, "warm_start needs a prior with a spectrum"),
        ({"settings": Settings(gamma=0.0)}, ValueError, "gamma and sigma_inflation need a prior with over-noising"),
        ({"settings": Settings(few_step=FewStep(sigma_inflation=0.1))}, ValueError, "and Counting has none"),
        ({"indices": [0]}, ValueError, "1 indices for 2 images"),
        ({"indices": [0, 0.5]}, TypeError, "integers"),
        ({"seed": "x"}, TypeError, "integers"),
        ({"batch": 0}, ValueError, "batch is 0"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        refused(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("samples", "error"), [(1, ValueError), (2.0, TypeError)])
def test_a_posterior_needs_two_samples(samples, error):
    with pytest.raises(error, match="samples is"):
        posterior(torch.zeros(1, 3, 8, 6), Resize(SHAPE, 2), samples, prior=Counting())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sigma_max": 0.0}, ValueError, "sigma_max is 0.0"),
        ({"sigma_max": math.inf}, ValueError, "sigma_max is inf"),
        ({"sigma_min": -1.0}, ValueError, "sigma_min is -1.0"),
        ({"sigma_min": 3.0}, ValueError, "sigma_min is 3.0 but must not exceed sigma_max, 2.0"),
        ({"exponent": 0}, ValueError, "exponent is 0"),
        ({"exponent": "3"}, TypeError, "exponent is '3'"),
        ({"output_ema": 1.0}, ValueError, "output_ema is 1.0 but must be finite and at least 0 and below 1"),
        ({"output_ema": math.nan}, ValueError, "output_ema is nan"),
        ({"momentum": 1.0}, ValueError, "momentum is 1.0 but must be finite and above -1 and below 1"),
        ({"sigma_likelihood": -0.1}, ValueError, "sigma_likelihood is -0.1"),
        ({"warm_start": "yes"}, TypeError, "warm_start is 'yes'"),
        ({"overrelaxation": 1}, ValueError, "overrelaxation is 1 but must be finite and at least 0 and below 1"),
        ({"renoise": 1.1}, ValueError, "renoise is 1.1 but must be finite and at least 0 and at most 1"),
        ({"renoise": -0.1}, ValueError, "renoise is -0.1 but must be finite and at least 0 and at most 1"),
        ({"renoise": True}, TypeError, "renoise is True but must be a number"),
        ({"gamma": -0.1}, ValueError, "gamma is -0.1 but must be finite and at least 0"),
        ({"sigma_inflation": -1}, ValueError, "sigma_inflation is -1 but must be finite and at least 0"),
        ({"gamma": "0"}, TypeError, "gamma is '0' but must be a number"),
    ],
)
def test_settings_out_of_range_are_refused(changes, error, message):
    few_step = {name: value for name, value in changes.items() if hasattr(FewStep(), name)}
    with pytest.raises(error, match=message):
        Settings(**{"few_step": FewStep(**few_step)} if few_step else changes)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().sigma_max = 1.0
