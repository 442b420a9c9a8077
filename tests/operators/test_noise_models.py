"""Noise models: samples against their likelihood and their deviation; what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from operators import Gaussian, Identity, Poisson, PoissonGaussian, Quantized, Saturated

N = 20_000
MODELS = {
    "gaussian": Gaussian(0.2),
    "gaussian map": Gaussian(torch.full((1, 1, N), 0.2)),
    "poisson": Poisson(30.0),
    "few photons": Poisson(3.0),
    "poisson gaussian": PoissonGaussian(10.0, 0.1),
}


def seeded(batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(batch, *shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", [-0.6, 0.4])
def test_samples_scatter_about_their_mean_as_the_deviation_says(name, level):
    z = torch.full((1, 1, N), level, dtype=torch.float64)
    y = MODELS[name].sample(z, seeded())
    deviation = torch.as_tensor(MODELS[name].deviation(z)).expand_as(z).flatten()[0].item()
    assert y.mean().item() == pytest.approx(level, abs=4 * deviation / N**0.5)
    expected = deviation if name != "few photons" else math.sqrt(2 * (level + 1) / 3)
    assert y.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("gain", [0.5, 3.0, 30.0, 1000.0])
def test_counts_have_poissons_law(gain):
    z = torch.full((1, N), 0.2, dtype=torch.float64)
    counts = (Poisson(gain).sample(z, seeded()) + 1) * gain / 2
    assert (counts - counts.round()).abs().max() < 1e-9 * gain
    law = stats.poisson(gain * 0.6)
    top = int(law.ppf(0.9999)) + 1
    found = torch.bincount(counts.round().long().flatten(), minlength=top + 1)[: top + 1].cumsum(0) / N
    assert abs(found.numpy() - law.cdf(range(top + 1))).max() < 1.63 / N**0.5


@pytest.mark.parametrize("model", [Poisson(7.0), PoissonGaussian(7.0, 0.15)], ids=["counts", "counts and white noise"])
def test_the_likelihood_is_that_of_the_samples(model):
    """Likelihoods of two means differ as the laws of their samples do: E_z0 [p(y | z1) / p(y | z0)] = 1."""
    z0, z1 = (torch.full((1, N), level, dtype=torch.float64) for level in (0.1, 0.3))
    y = model.sample(z0, seeded())
    ratio = (model.log_likelihood(y, z1) - model.log_likelihood(y, z0)).exp()
    assert ratio.mean().item() == pytest.approx(1, abs=4 * ratio.std().item() / N**0.5)


def test_the_likelihood_of_counts_with_noise_sums_to_that_of_all_counts():
    model = PoissonGaussian(5.0, 0.2)
    z, y = torch.linspace(-0.9, 1.5, 7, dtype=torch.float64), torch.tensor(0.13, dtype=torch.float64)
    rate, found = 5.0 * (z + 1) / 2, (y + 1) * 5.0 / 2
    k = torch.arange(60, dtype=torch.float64)
    law = torch.from_numpy(stats.poisson(rate[:, None]).logpmf(k))
    expected = (law - ((found - k) / (0.2 * 5 / 2)) ** 2 / 2).logsumexp(1)
    assert torch.allclose(model.log_likelihood(y, z), expected, atol=1e-7)


def test_saturation_is_a_censored_normal_law():
    model, z = Saturated(0.3, -1.0, 0.8), torch.full((1, N), 0.7, dtype=torch.float64)
    y = model.sample(z, seeded())
    assert ((y >= -1) & (y <= 0.8)).all()
    share = (y == 0.8).double().mean().item()
    assert share == pytest.approx(stats.norm.cdf(-1 / 3), abs=4 * 0.5 / N**0.5)
    limits = model.log_likelihood(torch.tensor([0.8, -1.0]), torch.tensor([0.7, 0.7])).exp()
    assert limits.tolist() == pytest.approx([stats.norm.cdf(-1 / 3), stats.norm.cdf(-1.7 / 0.3)], rel=1e-5)


def test_rounding():
    model = Quantized(0.5, origin=-1.0)
    z = torch.tensor([[-1.1, -0.76, -0.74, 0.24, 0.26, 0.9]])
    y = model.sample(z, seeded())
    assert y.tolist() == [[-1.0, -1.0, -0.5, 0.0, 0.5, 1.0]]
    assert (model.log_likelihood(y, z) == 0).all()
    assert (model.log_likelihood(y, z + 0.5) == -torch.inf).all()
    unknown = Quantized(torch.tensor([0.5, torch.inf]))
    assert unknown.sample(torch.tensor([[0.3, 0.3]]), seeded()).tolist() == [[0.5, 0.0]]
    assert unknown.log_likelihood(torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])).tolist() == [[-torch.inf, 0.0]]


def test_complex_noise_has_the_level_in_both_parts():
    z = torch.zeros(1, N, dtype=torch.complex128)
    y = Gaussian(0.3).sample(z, seeded())
    assert y.real.std().item() == pytest.approx(0.3, rel=0.03)
    assert y.imag.std().item() == pytest.approx(0.3, rel=0.03)
    assert abs((y.real * y.imag).mean().item()) < 0.01


def test_models_are_selected_for_images_of_a_batch():
    y = torch.zeros(3, 1, 2, 2)
    sigma = torch.tensor([0.1, 0.2, 0.3])
    assert Gaussian(sigma).select([2, 0], y).sigma.tolist() == pytest.approx([0.3, 0.1])
    assert Gaussian(sigma[:, None, None, None]).select([1], y).sigma.flatten().tolist() == pytest.approx([0.2])
    shared = Gaussian(torch.rand(2, 2) + 0.1)
    assert shared.select([1], y).sigma is shared.sigma
    assert Poisson(3.0).select([1], y) == Poisson(3.0)
    table = Quantized(torch.rand(1, 1, 2, 2) + 0.1)
    assert table.select([0, 2], y).step is table.step


def test_an_operator_measures_with_a_noise_model():
    x = torch.rand(2, 3, 4, 4) * 2 - 1
    assert torch.equal(Identity((3, 4, 4)).measure(x, Quantized(0.5)), (x / 0.5).round() * 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(0.0), "gain is 0.0 but must be positive and finite"),
        (lambda: PoissonGaussian(30.0, 0.0), "sigma is 0.0 but must be positive"),
        (lambda: Quantized(0.0), "step is 0.0 but must be positive"),
        (lambda: Quantized(torch.tensor([0.1, -1.0])), "step is -1.0 but must be positive"),
        (lambda: Saturated(0.1, 1.0, -1.0), "low is 1.0 but must be below high, -1.0"),
        (lambda: Gaussian(-0.1), "sigma_y is -0.1 but must be finite and not negative"),
        (
            lambda: Gaussian(torch.ones(2, 5, 5)).check(torch.zeros(1, 3, 4, 4)),
            r"a map \[2, 5, 5\] but .* \[1, 3, 4, 4\]",
        ),
        (lambda: Gaussian(torch.ones(4)).check(torch.zeros(3, 1, 2, 2)), "sigma_y has 4 values but there are 3 images"),
        (lambda: Poisson(30.0).check(torch.full((1, 3), -1.1)), "y has 3 values below -1, negative photon counts"),
        (lambda: Poisson(30.0).check(torch.zeros(1, dtype=torch.complex64)), "y is complex but Poisson noise"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
