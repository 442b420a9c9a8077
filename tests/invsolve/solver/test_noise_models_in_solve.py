"""Every noise model through `solve` and `posterior`: the exact posterior where it is known, batches, warnings."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from solver_cases import TinyNetwork, seeded

from invsolve import (
    Denoiser,
    GaussianPrior,
    GenerativeDenoiser,
    MismatchWarning,
    NoiseStreams,
    Settings,
    default_settings,
    posterior,
    solve,
)
from invsolve.specs.settings import FewStep
from operators import (
    JPEG,
    CircularConvolution,
    Clip,
    Gaussian,
    GaussianBlur,
    Identity,
    Mask,
    NoiseModel,
    Operator,
    Poisson,
    PoissonGaussian,
    Quantized,
    Resize,
    Saturated,
)
from operators.jpeg import quality_tables

FINE = Settings(sigma_max=0.3, sigma_min=0.01)
LEVEL = 0.15
STATIONARY = Settings(sigma_max=LEVEL, sigma_min=LEVEL)  # a chain of one level, whose law is known
PICTURES = (3, 16, 16)


class Curved(Operator):
    """An operator that is neither linear nor pointwise, nothing of it written but forward."""

    def __init__(self):
        super().__init__(PICTURES, PICTURES)

    def forward(self, x):
        return torch.tanh(x + 0.3 * x.roll(1, -1))


CASES: dict[str, tuple[Operator, NoiseModel]] = {
    "a level per image": (GaussianBlur(PICTURES, 1.0), Gaussian(torch.linspace(0.02, 0.1, 4))),
    "a map": (Resize(PICTURES, 2), Gaussian(torch.rand(1, 1, 8, 8, generator=seeded(0)) * 0.1 + 0.02)),
    "counts": (Identity(PICTURES), Poisson(30.0)),
    "counts, pixels missing": (Mask(PICTURES, (torch.rand(16, 16, generator=seeded(1)) > 0.3).float()), Poisson(30.0)),
    "counts of a blurred image": (GaussianBlur(PICTURES, 1.0), Poisson(30.0)),
    "counts and read noise": (Identity(PICTURES), PoissonGaussian(20.0, 0.05)),
    "rounded": (Identity(PICTURES), Quantized(0.25, -1.0)),
    "saturated": (Identity(PICTURES), Saturated(0.05, -0.5, 0.5)),
    "saturated behind a blur": (GaussianBlur(PICTURES, 1.0), Saturated(0.05, -0.5, 0.5)),
    "clipped": (Clip(PICTURES), Gaussian(0.05)),
    "jpeg": (JPEG(PICTURES, quality_tables(30)), JPEG(PICTURES, quality_tables(30)).rounding),
    "not linear": (Curved(), Gaussian(0.05)),
}


@pytest.fixture(scope="module")
def prior() -> GenerativeDenoiser:
    prior = GenerativeDenoiser(Denoiser(TinyNetwork()))
    prior.spectrum = 10 / (1 + torch.arange(32.0) ** 2)
    return prior


def measured(name: str, batch: int = 4) -> tuple[torch.Tensor, Operator, NoiseModel]:
    operator, model = CASES[name]
    x = 0.4 * torch.randn(batch, *operator.in_shape, generator=seeded(4)).clamp(-2, 2)
    return operator.measure(x, model, NoiseStreams(9, range(batch))), operator, model


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_an_image_alone_and_in_a_batch_give_the_same_result(name, prior):
    y, operator, model = measured(name)
    together = solve(y, operator, 2, prior=prior, noise=model)
    assert (together[0] - together[1]).abs().max() > 0.05
    settings = default_settings(operator, model, prior)
    split = solve(y, operator, 2, prior=prior, noise=model, batch=3, settings=settings)
    assert (split - together).abs().max() < 1e-3
    samples = posterior(y, operator, 2, 1, prior=prior, noise=model)
    assert samples.samples.shape == (2, 4, *PICTURES)
    assert samples.diagnostics.residual.shape == (2, 4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_level_per_image_is_that_of_each_alone(prior):
    y, operator, model = measured("a level per image")
    settings = Settings(1.0, 0.1)
    together = solve(y, operator, sigma_y=model.sigma, prior=prior, settings=settings)
    for b, sigma in enumerate(model.sigma.tolist()):
        alone = solve(y[b : b + 1], operator, sigma_y=sigma, prior=prior, settings=settings, indices=[b])
        assert torch.allclose(alone[0], together[b], atol=2e-4)


ROOT = torch.randn(16, 16, generator=seeded(1), dtype=torch.float64) / 8


@pytest.fixture(scope="module")
def smooth() -> GaussianPrior:
    """Of images of 1x4x4, float64."""
    return GaussianPrior(torch.zeros(1, 4, 4, dtype=torch.float64), ROOT @ ROOT.T)


MAPPED = {"identity": Identity((1, 4, 4)), "blur": CircularConvolution((1, 4, 4), torch.tensor([[0.5, 0.3, 0.2]]))}


@pytest.mark.parametrize("name", MAPPED)
def test_a_noise_map_gives_the_exact_posterior(name, smooth):
    operator, count = MAPPED[name].double(), 1000
    sigma = torch.linspace(0.05, 0.5, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    x = torch.full((1, 1, 4, 4), 0.3, dtype=torch.float64)
    y = operator.measure(x, Gaussian(sigma), NoiseStreams(0, [0], dtype=torch.float64))
    found = posterior(y, operator, count, 30, sigma, smooth, settings=STATIONARY, batch=count).samples.flatten(1)
    a = operator(torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)).flatten(1).T
    noise = torch.diag(sigma.flatten() ** 2) + LEVEL**2 * a @ a.T
    covariance = torch.linalg.inv(torch.linalg.inv(ROOT @ ROOT.T) + a.T @ torch.linalg.inv(noise) @ a)
    mean = covariance @ a.T @ torch.linalg.solve(noise, y.flatten())
    assert ((found.mean(0) - mean).abs() < 5 * (covariance.diagonal() / count).sqrt() + 0.005).all()
    assert torch.allclose(found.std(0), covariance.diagonal().sqrt(), rtol=0.12)


def test_counts_give_the_exact_posterior_of_a_pixel():
    """One pixel under a Gaussian prior: quadrature."""
    spread, count, gain = 0.5, 300, 20.0
    prior = GaussianPrior(torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([[spread**2]], dtype=torch.float64))
    operator, model = Identity((1, 1, 1)).double(), Poisson(gain)
    y = torch.full((1, 1, 1, 1), 2 * 4 / gain - 1, dtype=torch.float64)
    found = posterior(y, operator, count, 20, prior=prior, noise=model, settings=STATIONARY, batch=count)
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    coupled = model.log_likelihood(y.flatten(), grid) - (grid - grid[:, None]) ** 2 / (2 * LEVEL**2)  # [x, u]
    weight = (coupled.logsumexp(1) - grid**2 / (2 * spread**2)).softmax(0)
    mean = (weight * grid).sum()
    std = (weight * (grid - mean) ** 2).sum().sqrt()
    assert found.mean.item() == pytest.approx(mean.item(), abs=4 * std.item() / math.sqrt(count))
    assert found.std.item() == pytest.approx(std.item(), rel=0.17)
    assert 0.3 < found.diagnostics.acceptance.mean() < 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["rounded", "jpeg"])
def test_the_result_rounds_to_the_measurement(name, prior):
    y, operator, model = measured(name)
    x = solve(y, operator, prior=prior, noise=model)
    assert ((operator(x) - y).abs() <= model.steps(y) / 2 + 1e-5).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_several_runs_the_best_is_kept(prior):
    y, operator, model = measured("not linear", 2)
    settings, how = Settings(1.0, 0.2), {"prior": prior, "noise": model, "return_diagnostics": True}
    best, found = solve(y, operator, 1, settings=Settings(1.0, 0.2, restarts=2), **how)
    runs = [solve(y, operator, 1, settings=settings, indices=[(b, run) for b in range(2)], **how) for run in range(3)]
    residuals = torch.stack([each.residual for _, each in runs])
    images = torch.stack([x for x, _ in runs])
    assert torch.allclose(found.residual, residuals.min(0).values, atol=1e-4)
    assert torch.allclose(best, images[residuals.argmin(0), torch.arange(2)], atol=1e-4)
    assert (residuals.argmin(0) > 0).any()


def test_the_residual_is_about_1_where_all_is_right_and_warned_of_where_not(smooth):
    operator = Identity((1, 4, 4)).double()
    nothing = GaussianPrior(torch.zeros(1, 4, 4, dtype=torch.float64), 1e-4 * torch.eye(16, dtype=torch.float64))
    x = 0.2 * torch.randn(6, 1, 4, 4, generator=seeded(3), dtype=torch.float64)
    y = operator.measure(x, 0.1, NoiseStreams(1, range(6), dtype=torch.float64))
    with warnings.catch_warnings(action="error"):
        _, found = solve(y, operator, 10, 0.1, smooth, settings=FINE, return_diagnostics=True)
    assert 0.6 < found.residual.mean() < 1.5
    assert found.acceptance is None
    with pytest.warns(MismatchWarning, match=r"the residual is \d.* times what sigma_y = 0.01 explains"):
        solve(y + 3, operator, 10, 0.01, smooth, settings=FINE)
    with pytest.warns(MismatchWarning, match=r"the residual is 0\.0\d* times what sigma_y = 2 explains"):
        solve(y * 0, operator, 10, 2.0, nothing, settings=FINE)


def test_a_noisy_picture_that_is_said_to_be_clean_is_warned_of(prior):
    x = torch.linspace(-0.8, 0.8, 64).expand(1, 3, 64, 64)
    operator = Identity((3, 64, 64))
    y = operator.measure(x, 0.2, NoiseStreams(0, [0]))
    with pytest.warns(MismatchWarning, match=r"noise of level 0\.2.*, not sigma_y = 0\.05: is that level wrong\?"):
        solve(y, operator, 1, 0.05, prior)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": 0.3}, "noise is a float but must be a noise model, such as Poisson"),
        (
            {"noise": Poisson(30.0), "settings": Settings(few_step=FewStep(renoise=1.0))},
            "few_step.renoise is for",
        ),
        ({"noise": Poisson(30.0), "settings": Settings(few_step=FewStep(overrelaxation=0.5))}, "few_step.overrelaxat"),
        ({"sigma_y": torch.ones(3)}, "sigma_y has 3 values but there are 2 images"),
        ({"sigma_y": torch.ones(5, 5)}, r"sigma_y is a map \[5, 5\] but the measurements are \[2, 3, 16, 16\]"),
        ({"sigma_y": torch.zeros(2)}, "sigma_y has zeros but levels of several values or images must be positive"),
        ({"sigma_y": -torch.ones(2)}, "sigma_y is .* but must be finite and not negative"),
    ],
)
def test_bad_calls_are_refused_in_one_line(changes, message, prior):
    y = torch.zeros(2, *PICTURES)
    with pytest.raises((ValueError, TypeError), match=message):
        solve(y, Identity(PICTURES), 1, prior=prior, **changes)


def test_negative_counts_are_refused(prior):
    with pytest.raises(ValueError, match="y has 1536 values below -1, negative photon counts"):
        solve(torch.full((2, *PICTURES), -1.5), Identity(PICTURES), 1, prior=prior, noise=Poisson(30.0))
