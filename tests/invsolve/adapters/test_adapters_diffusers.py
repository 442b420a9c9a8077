"""A diffusers model as our denoiser: against direct computations, diffusers' own schedulers, and a closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from invsolve import DiffusionSampler, GaussianPrior, PosteriorMean, Settings, posterior, solve
from invsolve.runtime.optional import import_optional
from operators import Identity, Resize
from operators.precision import full_float32

try:
    diffusers = import_optional("diffusers")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from invsolve.adapters.diffusers import DenoiserFromDiffusers, load

SHAPE = (3, 16, 8)
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SCHEDULES = {
    "DDPM": lambda **options: diffusers.DDPMScheduler(clip_sample=False, **options),
    "DDIM": lambda **options: diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, **options),
    "cosine": lambda **options: diffusers.DDPMScheduler(
        100, beta_schedule="squaredcos_cap_v2", clip_sample=False, **options
    ),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def network(outputs: int = 3, embedding: str = "positional") -> diffusers.UNet2DModel:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=16,
        out_channels=outputs,
        time_embedding_type=embedding,
        num_train_timesteps=1000,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()


@pytest.fixture(scope="module")
def model() -> diffusers.UNet2DModel:
    return network().requires_grad_(False)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_denoised_image_is_the_schedulers(model, name, prediction):
    """At a level of the schedule: diffusers' own ``pred_original_sample`` of x_t = sqrt(abar) u."""
    scheduler = SCHEDULES[name](prediction_type=prediction)
    u = random(2, *SHAPE)
    for t in (0, 7, 60):
        abar = scheduler.alphas_cumprod[t].double().item()
        sigma = math.sqrt((1 - abar) / abar)
        x_t = math.sqrt(abar) * u
        scheduler.set_timesteps(len(scheduler.alphas_cumprod))
        wanted = scheduler.step(model(x_t, t).sample, t, x_t).pred_original_sample
        for interpolate in (True, False):
            found = DenoiserFromDiffusers(model, scheduler, interpolate)(u, sigma)
            assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_between_the_levels_of_the_schedule(model):
    """The written-out formula: timestep interpolated in ln sigma, or the nearest; each image its own level."""
    scheduler = SCHEDULES["DDPM"]()
    sigmas = ((1 - scheduler.alphas_cumprod.double()) / scheduler.alphas_cumprod.double()).sqrt()
    u, fraction = random(2, *SHAPE), torch.tensor([0.3, 0.8], dtype=torch.float64)
    low = torch.tensor([40, 200])
    sigma = (sigmas[low].log() * (1 - fraction) + sigmas[low + 1].log() * fraction).exp().float()
    column = sigma[:, None, None, None]
    x = u / (1 + column**2).sqrt()
    for interpolate, timestep in ((True, (low + fraction).float()), (False, torch.tensor([40, 201]))):
        wanted = u - column * model(x, timestep).sample
        denoiser = DenoiserFromDiffusers(model, scheduler, interpolate)
        assert (denoiser.timestep(sigma) - timestep).abs().max() < 1e-2
        assert (denoiser(u, sigma) - wanted).abs().max() < 1e-3
        for b in range(2):
            assert (denoiser(u[b : b + 1], sigma[b].item()) - wanted[b]).abs().max() < 1e-3


def test_levels_beyond_the_schedule(model):
    scheduler = SCHEDULES["DDPM"]()
    denoiser, u = DenoiserFromDiffusers(model, scheduler), random(1, *SHAPE)
    assert denoiser.timestep(torch.tensor([1e-4, 0.0])).tolist() == [0, 0]
    assert (denoiser(u, 1e-4) - (u - 1e-4 * model(u, 0).sample)).abs().max() < 1e-5
    assert denoiser.timestep(torch.tensor([denoiser.sigmas[-1]])).item() == pytest.approx(999)
    for sigma in (158.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"sigma is .* but the model was trained for levels up to 157\.4"):
            denoiser(u, sigma)
    rescaled = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)  # its last level is infinite
    sigmas = DenoiserFromDiffusers(model, rescaled).sigmas
    assert (sigmas[1:] > sigmas[:-1]).all()
    assert math.isfinite(sigmas[-1])


def test_a_predicted_variance_is_left_out():
    wide = network(outputs=6).requires_grad_(False)
    u = random(2, *SHAPE)
    found = DenoiserFromDiffusers(wide, SCHEDULES["DDPM"]())(u, 0.5)
    assert found.shape == u.shape
    denoiser = DenoiserFromDiffusers(wide, SCHEDULES["DDPM"]())
    epsilon = wide(u / math.sqrt(1.25), denoiser.timestep(torch.full((2,), 0.5))).sample
    assert (found - (u - 0.5 * epsilon[:, :3])).abs().max() < 1e-5


def test_types_and_gradients_pass_through():
    model = network()
    denoiser = DenoiserFromDiffusers(model, SCHEDULES["DDPM"]())
    u = random(1, *SHAPE).double().requires_grad_()
    x = denoiser(u, 0.3)
    assert x.dtype == torch.float64
    direction, step = random(1, *SHAPE, seed=1).double(), 1e-2
    slope = (torch.autograd.grad(x.sum(), u, retain_graph=True)[0] * direction).sum()
    with torch.no_grad():
        difference = (denoiser(u + step * direction, 0.3) - denoiser(u - step * direction, 0.3)).sum() / (2 * step)
    assert slope.item() == pytest.approx(difference.item(), rel=1e-2)
    x.sum().backward()
    assert max(p.grad.abs().max() for p in model.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: (network(), diffusers.ScoreSdeVeScheduler()),
            "scheduler is a ScoreSdeVeScheduler without alphas_cumprod",
        ),
        (
            lambda: (network(), SimpleNamespace(alphas_cumprod=1, config=SimpleNamespace(prediction_type="flow"))),
            "predicts 'flow' but must predict one of epsilon, sample, v_prediction",
        ),
        (lambda: (network(outputs=4), diffusers.DDPMScheduler()), "3 channels in and 4 out, expected 3 or 6"),
        (lambda: (network(embedding="learned"), diffusers.DDPMScheduler()), "interpolate must be False"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        DenoiserFromDiffusers(*make())


def test_learned_embeddings_take_whole_timesteps():
    model = network(embedding="learned").requires_grad_(False)
    u = random(1, *SHAPE)
    denoiser = DenoiserFromDiffusers(model, SCHEDULES["DDPM"](), interpolate=False)
    t = denoiser.timestep(torch.tensor([0.5]))
    assert (denoiser(u, 0.5) - (u - 0.5 * model(u / math.sqrt(1.25), t).sample)).abs().max() < 1e-5


def test_a_saved_pipeline_is_loaded_from_safetensors_alone(model, tmp_path):
    pipeline = diffusers.DDPMPipeline(model, SCHEDULES["cosine"](prediction_type="sample"))
    pipeline.save_pretrained(tmp_path / "safe")
    u = random(1, *SHAPE)
    wanted = DenoiserFromDiffusers(model, pipeline.scheduler)(u, 0.7)
    assert (load(tmp_path / "safe")(u, 0.7) - wanted).abs().max() < 1e-6
    pipeline.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        load(tmp_path / "pickled")


class ExactNetwork(nn.Module):
    """What a perfect network would predict for a Gaussian prior, on diffusers' side: from x_t and t."""

    config = SimpleNamespace(in_channels=1, out_channels=1, time_embedding_type="positional")

    def __init__(self, prior: GaussianPrior, scheduler: diffusers.DDPMScheduler) -> None:
        super().__init__()
        self.prior, self.kind = prior, scheduler.config.prediction_type
        abar = scheduler.alphas_cumprod.double()
        self.log_sigma = ((1 - abar) / abar).log() / 2

    def forward(self, x_t, t):
        low = t.long().clamp(max=len(self.log_sigma) - 2)
        part = t.double() - low
        sigma = (self.log_sigma[low] * (1 - part) + self.log_sigma[low + 1] * part).exp()
        abar = (1 / (1 + sigma**2))[:, None, None, None]
        x0 = self.prior(x_t / abar.sqrt(), sigma)
        noise = (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()
        v = abar.sqrt() * noise - (1 - abar).sqrt() * x0
        return SimpleNamespace(sample={"epsilon": noise, "sample": x0, "v_prediction": v}[self.kind])


SMALL = (1, 4, 4)


@pytest.fixture(scope="module")
def gaussian() -> GaussianPrior:
    root = torch.randn(16, 16, generator=seeded(1), dtype=torch.float64) / 4
    return GaussianPrior(torch.randn(*SMALL, generator=seeded(2), dtype=torch.float64) / 4, root @ root.T)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_exact_network_gives_the_exact_denoiser(gaussian, prediction):
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction)
    u = random(3, *SMALL).double()
    sigma = torch.tensor([0.05, 0.7, 20.0], dtype=torch.float64)
    fractional = DenoiserFromDiffusers(ExactNetwork(gaussian, scheduler), scheduler)
    assert (fractional(u, sigma) - gaussian(u, sigma)).abs().max() < 1e-3  # float32 timesteps
    nearest = DenoiserFromDiffusers(ExactNetwork(gaussian, scheduler), scheduler, interpolate=False)
    assert (nearest(u, sigma) - gaussian(u, sigma)).abs().max() < 0.02  # half a timestep off


def test_solve_with_an_exact_network_has_the_closed_form_posterior(gaussian):
    """With A = I the posterior is that of the prior's own denoiser at sigma_y."""
    s, samples = 0.4, 1000
    scheduler = diffusers.DDPMScheduler()
    y = random(1, *SMALL, seed=3).double()
    mean, variances = gaussian(y, s), gaussian.variances
    std = (gaussian.axes.square() @ (variances * s**2 / (variances + s**2))).sqrt()
    assert ((y - mean).flatten().abs() / std).max() > 1  # the measurement alone would not do
    settings = Settings(sigma_max=1.0, sigma_min=0.15)

    def sampled(denoiser):
        prior = DiffusionSampler(denoiser, evaluations=8, exponent=3.0, sigma_min=0.02)
        return posterior(y, Identity(SMALL).double(), samples, 8 * 25, s, prior, settings=settings, batch=samples)

    found = sampled(DenoiserFromDiffusers(ExactNetwork(gaussian, scheduler), scheduler))
    # Monte Carlo errors of 5 standard deviations, beside a tenth for the finite schedules.
    assert ((found.mean - mean).flatten().abs() / std).max() < 0.1 + 5 / math.sqrt(samples)
    assert (found.std.flatten() / std - 1).abs().max() < 0.1 + 5 / math.sqrt(2 * samples)
    assert (found.samples - sampled(gaussian).samples).abs().max() < 1e-6
    assert (found.mean - y).norm() < 0.75 * (gaussian.mean - y).norm()


@pytest.mark.parametrize("sample", [PosteriorMean, lambda denoiser: DiffusionSampler(denoiser, 2)])
def test_solve_with_an_untrained_network_does_not_mix_images(model, sample):
    operator = Resize(SHAPE, 2)
    y = operator(random(3, *SHAPE))
    prior = sample(DenoiserFromDiffusers(model, diffusers.DDPMScheduler()))
    x = solve(y, operator, 4, 0.05, prior)
    last = solve(y[2:], operator, 4, 0.05, prior, indices=[2])
    assert (x[2:] - last).abs().max() < 1e-4


@pytest.mark.cuda
def test_a_gpu_gives_the_same_image(model):
    u = random(2, *SHAPE)
    wanted = DenoiserFromDiffusers(model, diffusers.DDPMScheduler())(u, 0.5)
    denoiser = DenoiserFromDiffusers(network().requires_grad_(False), diffusers.DDPMScheduler()).cuda()
    with full_float32():  # the rounding of TF32 adds up to 7e-4
        assert (denoiser(u.cuda(), 0.5).cpu() - wanted).abs().max() < 1e-4
