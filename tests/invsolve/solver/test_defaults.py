"""Settings for operators that nobody has tuned."""

import math

import pytest
import torch
from torch.nn import functional as F

from invsolve import (
    FewStep,
    GaussianPrior,
    Settings,
    default_settings,
    load_prior,
    load_task,
    posterior,
    posterior_settings,
    solve,
)
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.defaults import honoured, task_settings
from operators import FunctionOperator, Identity, Mask, Resize, box_mask, random_mask

SHAPE = (3, 64, 64)


class Stationary:
    """A prior of which only the spectrum matters: white, with so large a power."""

    evaluations = 1

    def __init__(self, power: float) -> None:
        self.spectrum = torch.full((16,), power)


def test_the_last_level_is_the_error_of_the_wiener_estimate():
    """With A = I and a white spectrum P it is ``sqrt(P s² / (P + s²))`` per pixel."""
    for power, sigma_y in ((0.04, 0.05), (0.01, 0.03)):
        settings = default_settings(Identity(SHAPE), sigma_y, Stationary(power))
        error = math.sqrt(power * sigma_y**2 / (power + sigma_y**2))
        assert settings.sigma_min == pytest.approx(error, rel=0.03)
        assert 12 * 0.9 * error < settings.sigma_max < 12 * 1.2 * error
        assert settings.sigma_likelihood == sigma_y / 2
    assert default_settings(Identity(SHAPE), 0.9, Stationary(0.04)).sigma_min == 0.1


def test_the_first_level_is_that_of_the_worst_neighbourhood():
    prior = load_prior("default")
    box, scattered = box_mask((64, 64), (32, 32)), random_mask((64, 64), 0.25, 0)
    hole, dots = (default_settings(Mask(SHAPE, mask), 0.05, prior) for mask in (box, scattered))
    assert hole.sigma_max > 2.5 * dots.sigma_max
    both = default_settings(Mask(SHAPE, torch.stack([scattered, box])), 0.05, prior)
    assert both.sigma_max == pytest.approx(hole.sigma_max, rel=1e-3)


def test_it_is_what_solve_takes_by_default_in_the_operators_own_dtype():
    prior = load_prior("default").double()
    operator = Resize(SHAPE, 2).double()
    y = operator.measure(torch.zeros(1, *SHAPE, dtype=torch.float64), 0.05, NoiseStreams(0, [0], dtype=torch.float64))
    settings = default_settings(operator, 0.05, prior)
    assert settings == default_settings(operator, 0.05, prior)
    assert torch.equal(solve(y, operator, 1, prior=prior), solve(y, operator, 1, prior=prior, settings=settings))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    prior, operator = load_prior("default"), Mask(SHAPE, box_mask((64, 64), (32, 32)))
    assert default_settings(operator, 0.05, prior) == default_settings(operator.to(dtype), 0.05, prior)
    assert solve(torch.zeros(1, *SHAPE, dtype=dtype), operator.to(dtype), 1, prior=prior).dtype == dtype


def test_a_prior_without_a_spectrum_gets_the_neutral_settings():
    prior = GaussianPrior(torch.zeros(1, 2, 2), torch.eye(4))
    assert default_settings(Identity((1, 2, 2)), 0.05, prior) == Settings()


def test_posterior_takes_settings_that_keep_the_samples_law():
    """Of its own, in its own number of evaluations: no noise level but the true one, nothing that narrows samples."""
    prior = load_prior("default")
    operator = Resize(SHAPE, 2)
    y = operator.measure(torch.zeros(1, *SHAPE), 0.05, NoiseStreams(0, [(0, 1)]))
    settings = posterior_settings(operator, 0.05, prior)
    assert (settings.gamma, settings.sigma_likelihood, settings.few_step) == (None, None, FewStep())
    assert settings.sigma_max > settings.sigma_min
    prior.largest_sigma, known = 0.2, prior.largest_sigma
    assert posterior_settings(operator, 0.05, prior).sigma_max == 0.2 < settings.sigma_max <= known
    prior.largest_sigma = known
    own = posterior(y, operator, 2, prior=prior)
    assert torch.equal(own.samples, posterior(y, operator, 2, 4, prior=prior, settings=settings).samples)
    narrow = posterior(y, operator, 2, 4, prior=prior, settings=default_settings(operator, 0.05, prior))
    assert own.std.mean() > 1.2 * narrow.std.mean()


def test_the_published_settings_are_for_a_prior_that_knows_their_noise_levels():
    """From 50 evaluations on, where a task has settings for the noise at all."""
    task = load_task("sr4x")
    own, published = load_prior("default"), load_prior("default")
    published.largest_sigma = 80.0
    assert task_settings(task, 50, own) == task.settings(50)
    assert task_settings(task, 16, published) == task.settings(16)
    found = task_settings(task, 50, published)
    assert (found.sigma_max, found.sigma_min, found.exponent, found.gamma) == (80.0, 0.002, 2.0, None)
    assert task_settings(task, 50, published, 0.3) is None
    teacher = load_prior("teacher")
    assert honoured(task_settings(task, 4, teacher), teacher) == task.settings(4).without_over_noising()


def test_an_operator_on_anything_but_images_is_refused():
    line = FunctionOperator((8,), lambda x: x)
    with pytest.raises(ValueError, match=r"the operator acts on \(8,\) but must act on images"):
        default_settings(line, 0.05, load_prior("default"))


@pytest.mark.parametrize("kind", ["missing", "smaller"])
def test_the_default_prior_restores_better_with_them(kind):
    x = F.interpolate(NoiseStreams(1, [0])((3, 6, 6)) / 2, size=SHAPE[1:], mode="bicubic").clamp(-1, 1)
    operator = Mask(SHAPE, random_mask(SHAPE[1:], 0.7, 0)) if kind == "missing" else Resize(SHAPE, 4)
    y = operator.measure(x, 0.05, NoiseStreams(2, [0]))
    errors = [(solve(y, operator, settings=s) - x).square().mean().item() for s in (None, Settings())]
    assert errors[0] < 0.7 * errors[1]


def test_a_prior_without_over_noising_gets_no_settings_for_it():
    prior, operator = load_prior("teacher"), Resize(SHAPE, 4)
    settings = default_settings(operator, 0.05, prior)
    assert settings == default_settings(operator, 0.05, load_prior("default")).without_over_noising()
    assert solve(torch.zeros(1, 3, 16, 16), operator, 1, prior=prior).isfinite().all()
